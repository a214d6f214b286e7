"""The sections of the page: each module has pure functions from a snapshot to the values that a template shows."""
