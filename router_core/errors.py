"""The base class of every exception that openfall raises for its caller."""

from __future__ import annotations

import sys
from typing import Any, ClassVar


class OpenfallError(Exception):
    """Base class. The message says what is wrong and what to do. It shows neither prompt nor secret.

    An error can be pickled and copied, and keeps its attributes then. A traceback names an exported one `openfall.X`.
    """

    __module__ = "openfall"
    remedy: ClassVar[str] = ""
    """What to do about any error of this class. The message may say more."""
    job_id: str | None = None
    """The job that the error is about. A request that failed may be submitted again with this `id`."""
    _cause: str = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        exported = sys.modules["openfall"].__all__  # the package is imported before any module in it
        is_exported = cls.__name__ in exported and cls.__module__.startswith("openfall.")
        cls.__module__ = "openfall" if is_exported else cls.__module__

    @property
    def cause(self) -> str:
        """The error behind this one, in words; empty if there is none."""
        return self._cause or str(self.__cause__ or "")

    def __reduce__(self) -> tuple[Any, ...]:
        state = {**self.__dict__, "_cause": self.cause}
        return _restore, (type(self), self.args), state


class InvalidOperation(OpenfallError, RuntimeError):
    """The client, or what it returned, cannot be used in this place. The message says where it can be."""

    remedy = "see the message"


def _restore(kind: type[OpenfallError], args: tuple[Any, ...]) -> OpenfallError:
    error = kind.__new__(kind)
    error.args = args
    return error
