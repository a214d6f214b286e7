"""The periodic tasks of a worker: sweep, release, probe, close incidents."""
