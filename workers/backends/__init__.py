"""One file for each wire protocol: a call in, an outcome out. Nothing here knows of queues."""
