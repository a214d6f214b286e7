"""Which models may answer a request, in which order, and why."""
