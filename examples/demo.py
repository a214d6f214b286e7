"""`make demo`: one night at a small anime studio. See `examples/demo_run.py`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the demo. Ctrl-C while its modules are being imported ends it at once, without a traceback."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from examples.demo_run import play

    return play()


if __name__ == "__main__":
    sys.exit(main())
