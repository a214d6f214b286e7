"""The APIs that the gateway speaks, one module each. A module lists its endpoints."""
