"""`python -m openfall.workers VERB`: see `workers.verbs`."""

import signal
import sys

if __name__ == "__main__":
    # Until a verb catches it, a Ctrl-C just ends the process: no traceback while modules are being read.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from openfall.workers.commands import main

    sys.exit(main())
