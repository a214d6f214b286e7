"""The APIs that the door speaks, one module each. A module lists its endpoints."""
