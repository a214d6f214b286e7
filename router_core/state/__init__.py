"""Everything the fleet shares in Redis. Each step is one server-side script, in `lua/`.

Nothing outside this package spells a key, knows rq's data model or sends a command to Redis.
"""
