"""The periodic tasks of a worker: beat, reap, sweep, release held jobs, probe, close incidents."""
