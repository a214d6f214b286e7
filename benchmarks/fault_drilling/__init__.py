"""The parts of a fault drill: ways to be broken, upstreams that are, a fleet to bear it, and a checker."""
