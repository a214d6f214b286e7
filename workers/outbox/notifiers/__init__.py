"""What people are told of an incident: the facts, and each notifier's way to tell them."""
