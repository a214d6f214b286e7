"""`python -m openfall.workers COMMAND`: see `workers.commands`."""

import sys

from openfall.workers.stop_signals import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt()

    from openfall.workers.module_imports import no_garbage_collection

    with no_garbage_collection():
        from openfall.workers.commands import main

    sys.exit(main())
