"""`python -m openfall.workers COMMAND`: see `workers.commands`."""

import signal
import sys

if __name__ == "__main__":
    # Ctrl-C while modules are imported ends the process without a traceback. A command installs its own handler later.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    from openfall.workers.module_imports import no_garbage_collection

    with no_garbage_collection():
        from openfall.workers.commands import main

    sys.exit(main())
