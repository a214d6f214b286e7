"""The commands of an operator: preflight checks, and the loading, unloading and checking of models."""
