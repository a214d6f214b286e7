"""Tells people about incidents: the wording, and one module per notifier."""
