"""The engine of the backends' tests serves the fakes' own too."""

from tests.workers.backends.conftest import engine

__all__ = ["engine"]
