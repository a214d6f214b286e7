"""When a job kills its workers. A job is condemned only on evidence: workers died while they ran it alone.

The scripts `reap` and `claim` apply these limits.
"""

SUSPECT_AFTER = 2
"""Crashes, beside other jobs or alone, after which a job runs alone."""
SUSPECT_DELAY_SECONDS = 60.0
"""How long a suspect is reserved for a worker that lets its calls end first."""
CONDEMN_AFTER_ALONE = 3
"""Crashes without any other job on the worker after which a job is held as poisoned.

A worker that is killed by chance takes one job alone with it now and then. If a call ends with the death of its worker
with the chance p, a healthy job is condemned with the chance p to the fifth power: one job of 3.2 million where every
twentieth call ends so, one of 100,000 where every tenth does."""
