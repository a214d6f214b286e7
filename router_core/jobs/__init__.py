"""Jobs, the outcomes of their calls, their results, and the form in which they cross Redis."""
