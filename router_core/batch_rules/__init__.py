"""What a batch is: its lines, its rows, its statuses. Pure."""
