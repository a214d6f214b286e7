"""What Open Fall does with a job that no model can serve."""
