"""One client for each wire protocol: it takes a call and returns an outcome. It knows nothing of queues."""
