"""What `openfall init` does: it looks for what this machine has, and writes files that fit it."""
