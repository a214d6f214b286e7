"""Batches of requests from a JSON Lines file: read, submitted, followed and written out."""
