"""Producers put jobs in or ask about them: the Python client, batches, the command line."""
