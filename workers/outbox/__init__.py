"""Delivers webhooks and notices: which URLs are allowed, how they are signed and worded, when they are retried."""
