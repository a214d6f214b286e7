"""The embedded Valkey and engines, and the supervisor of a fleet: started, adopted, watched, stopped."""
