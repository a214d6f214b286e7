"""How fast Valkey runs scripts on this machine: fixed work in a claim, measured beside a claim without it.

A promise in microseconds holds for a reference machine. A slower machine, or one that others use too, needs longer for
the same instructions. Their number is counted once, since it is the same everywhere. Their time is measured in the same
run, and by the same clock, as the cost of a variant.
"""

from __future__ import annotations

ADDED_WORK = (
    "callback = main",
    """callback = function(keys, arguments)
  local name = string.format('benchmark:%d', #arguments)
  local windows, entries = {name .. ':day', name .. ':week', name .. ':month'}, {}
  local sums = redis.call('HMGET', 'benchmark:work', unpack(windows))
  for i, window in ipairs(windows) do
    local spent, reserved, calls = struct.unpack('<LLL', sums[i] or struct.pack('<LLL', 0, 0, 0))
    local tokens, answers = string.match('1234 56 0 1', '^(%d+) (%d+) ')
    entries[2 * i - 1], entries[2 * i] = window, struct.pack('<LLL', spent + tokens, reserved + answers, calls + 1)
  end
  redis.call('HSET', 'benchmark:work', unpack(entries))
  local report = cjson.decode('{"name": "work", "numbers": [1, 2, 3], "words": {"day": "one", "week": "two"}}')
  redis.call('ZADD', 'benchmark:moments', #report.numbers, report.words.day)
  redis.call('EXISTS', 'benchmark:none', table.concat(windows, ' '))
  return main(keys, arguments)
end""",
)
"""What is replaced in the script of a claim, and by what: the usual work of a script. It is no code of the product, and
stays as it is: then runs of different versions can be compared."""

INSTRUCTIONS = 98_700
"""What it adds to a claim, by `python -m benchmarks.claims --instructions` with Valkey 9.1."""
REFERENCE_SPEED = 5_700
"""Instructions that the reference machine, for which the promises hold, executes in a microsecond (ADR 45)."""
REFERENCE_US = INSTRUCTIONS / REFERENCE_SPEED
"""What the work takes there."""
