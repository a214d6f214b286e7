"""The core: what a job is, where it goes, and what its outcome means. `state/` is the only part that touches Redis."""
