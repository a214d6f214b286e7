"""The embedded Valkey, the embedded engines, and the supervisor that starts, watches and stops them."""
