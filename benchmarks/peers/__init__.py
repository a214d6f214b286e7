"""What people would use instead: one file a peer, each run as `python -m benchmarks.peers.NAME VERB` where it lives."""
