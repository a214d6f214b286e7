"""What an operator asks of the workers: preflight checks, models loaded and unloaded."""
