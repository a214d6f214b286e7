"""A process that has imported the modules of openfall, and forks each `python -m MODULE` that a test starts.

An interpreter that imports a worker or a gateway costs half a second of a processor, a fork some milliseconds. After
`ForkServer.install`, `Popen`, `run` and `create_subprocess_exec` fork the modules of `FORKED`. The new process is a
child of the process that starts it. It has a pid, session, descriptors, directory, variables and exit status of its
own, as an interpreter would. The server has one thread, no event loop and one connection: to its owner. The kernel
ends what was forked when the owner ends. A forked `openfall up` has a server too: its supervisor, and the workers and
gateways of that, are forked.

A test of the start itself uses `INTERPRETER`. So does each command with `-c`, with other options, or with other values
of the variables that an interpreter reads at its start.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import pickle
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.processes import die_with_parent
from openfall.workers.local.die_with_parent import die_with_parent as end_with_parent
from openfall.workers.module_imports import no_garbage_collection
from tests.lasting_thread import LASTING_THREAD

ROOT = Path(__file__).resolve().parent.parent

INTERPRETER = (sys.executable, "-q", "-m")
"""The command of a module that an interpreter of its own runs."""

FORKED = ("openfall.producers.", "openfall.workers", "benchmarks.", "tests.", "rq.cli")
NOT_FORKED = ("openfall.workers.local.", "tests.chaos.judge")
"""How the names of the modules begin. A model's engine needs nothing of `IMPORTED`, and the judge must not have it."""

FLEET = "up"
"""The argument of the programs that start workers and gateways."""

IMPORTED = (
    "aiohttp.web", "rich.progress", "uvloop", "uvicorn", "rq.cli", "benchmarks.server", "openfall.producers.client",
    "openfall.producers.cli.commands", "openfall.producers.gateway.serve", "openfall.workers.commands",
    "openfall.workers.worker_options", "openfall.workers.execution.job_traces", "openfall.workers.process",
    "openfall.workers.supervisor_plan",
)  # fmt: skip
"""What the server imports before it forks."""

READ_AT_START = ("PYTHON", "LC_", "LANG", "SSL_CERT_", "LD_", "OTEL_", "MALLOC_")
NOT_READ_AT_START = frozenset({"PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"})
"""How the variables begin that an interpreter, or an import, reads once; and those that a fork can still obey."""

COERCED_LOCALE = "C.UTF-8"
"""What an interpreter sets, where no locale is given."""

TITLE_BYTES = 4096
"""The room for the command line that other programs read of a process."""

MAX_MESSAGE_BYTES = 128 * 1024
"""A program with longer arguments and variables is run by an interpreter."""

_LIBC = ctypes.PyDLL(None, use_errno=True)  # it keeps the lock of the interpreter
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CLONE3, _CLONE_PARENT = 435, 0x8000  # linux/sched.h; the number of the call is the same on every processor


@dataclass(frozen=True)
class Start:
    """How a process is started."""

    argv: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    new_session: bool
    process_group: int
    umask: int
    ignores_sighup: bool
    signal_at_end_of_parent: int


class ForkServer:
    """The owner's side of a server, which starts at the first use."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._wait_for_server: Callable[[], Any] = int
        self._lock = threading.Lock()
        self._fork_exec: Callable[..., int] = subprocess._fork_exec  # type: ignore[attr-defined]  # noqa: SLF001

    def install(self) -> None:
        """Fork the modules of `FORKED` from now on. Elsewhere than on Linux, interpreters start as ever."""
        if sys.platform == "linux":
            subprocess._fork_exec = self._start  # type: ignore[attr-defined]  # noqa: SLF001

    def launch(self) -> None:
        """Start an interpreter for the server: it imports while this process goes on."""
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            argv = [*INTERPRETER, "tests.fork_server", str(other.fileno()), "_" * TITLE_BYTES]
            environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
            popen = LASTING_THREAD.submit(
                subprocess.Popen, argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, pass_fds=[other.fileno()],
            )  # fmt: skip
            self._wait_for_server = popen.result().wait
        self._connection = own

    def fork(self) -> None:
        """Fork the server from this process, which has one thread."""
        import_modules()
        own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            own.close()
            serve(other)
        other.close()
        self._wait_for_server = partial(os.waitpid, pid, 0)
        self._connection = own

    def close(self) -> None:
        """End the server. What it forked goes on, until this process ends."""
        subprocess._fork_exec = self._fork_exec  # type: ignore[attr-defined]  # noqa: SLF001
        if self._connection is not None:
            self._connection.close()
            self._wait_for_server()

    def _start(self, argv: Sequence[Any], executables: Any, close_fds: bool, kept: Any, *rest: Any) -> int:
        """In place of `subprocess._fork_exec`, with its arguments: the pid of the new process."""
        if (start := _read_start(argv, close_fds, kept, rest)) is not None:
            message = pickle.dumps(start)
            if len(message) <= MAX_MESSAGE_BYTES and (pid := self._request(message, _standard_streams(rest))) > 0:
                return pid
        return self._fork_exec(argv, executables, close_fds, kept, *rest)

    def _request(self, message: bytes, streams: Sequence[int]) -> int:
        with self._lock:
            if self._connection is None:
                self.launch()
            assert self._connection is not None
            try:
                socket.send_fds(self._connection, [message], streams)
                return int(self._connection.recv(32) or -1)
            except OSError:
                return -1  # a signal for the group of its owner has ended the server


def _standard_streams(rest: Sequence[Any]) -> list[int]:
    _, _, stdin, _, _, stdout, _, stderr = rest[:8]
    return [own if given == -1 else given for given, own in ((stdin, 0), (stdout, 1), (stderr, 2))]


def _read_start(argv: Sequence[Any], close_fds: bool, kept: Sequence[int], rest: Sequence[Any]) -> Start | None:
    """The start, if the program is one that a fork can become."""
    directory, variables, errors = rest[0], rest[1], rest[9]
    new_session, group, *_, umask, before = rest[11:18]
    words, prefix = tuple(map(os.fsdecode, argv)), tuple(end_with_parent(()))
    by_supervisor = words[: len(prefix)] == prefix
    words = words[len(prefix) :] if by_supervisor else words
    if words[:2] != INTERPRETER[::2] or not words[2].startswith(FORKED) or words[2].startswith(NOT_FORKED):
        return None
    environment = dict(os.environ)
    if variables is not None:
        environment = dict(os.fsdecode(variable).split("=", 1) for variable in variables)
    if not any(environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG")):
        environment["LC_CTYPE"] = COERCED_LOCALE
    directory = os.fsdecode(directory or os.getcwd())
    plain = close_fds and set(kept) <= {errors} and before in (None, die_with_parent) and os.path.isdir(directory)
    if not plain or _startup_variables(environment) != _startup_variables(os.environ):
        return None
    if environment.get("PYTHONPATH", "").split(os.pathsep)[0] not in ("", str(ROOT)):
        return None  # modules of another directory come first, and some of those are imported here
    umask = umask if umask >= 0 else int(_read_status("Umask"), 8)
    ignores_sighup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # a program inherits it
    signal_at_end = signal.SIGTERM if by_supervisor else signal.SIGKILL
    return Start(words, directory, environment, bool(new_session), group, umask, ignores_sighup, signal_at_end)


def _startup_variables(environment: Mapping[str, str]) -> dict[str, str]:
    values = {
        name: text
        for name, text in environment.items()
        if name.startswith(READ_AT_START) and name not in NOT_READ_AT_START
    }
    locale = values.get("LC_ALL") or values.get("LC_CTYPE") or values.get("LANG") or COERCED_LOCALE
    others = {name: text for name, text in values.items() if not name.startswith(("LC_", "LANG"))}
    return {**others, "locale": locale}


def _read_status(name: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def serve(connection: socket.socket) -> NoReturn:
    """Fork whatever the owner starts, until the owner ends. In the new process: run its program and exit."""
    owner = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner
    gc.freeze()
    while True:
        message, streams, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 3)
        if not message:
            os._exit(0)
        pid = _fork_sibling()
        if pid == 0:
            connection.close()
            _become(pickle.loads(message), streams, owner)
        for stream in streams:
            os.close(stream)
        connection.send(str(pid).encode())


def _fork_sibling() -> int:
    """As `os.fork`, but the new process is a child of this one's parent. -1: the kernel or a container forbids it."""
    arguments = struct.pack("8Q", _CLONE_PARENT, *[0] * 7)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(_LIBC.syscall(_CLONE3, arguments, len(arguments)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
    else:
        ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid


def _become(start: Start, streams: Sequence[int], owner: int) -> NoReturn:
    """Make this process what an interpreter would be at its start, and run the module."""
    if start.new_session:
        os.setsid()
    if start.process_group >= 0:
        os.setpgid(0, start.process_group)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    _LIBC.prctl(_PR_SET_PDEATHSIG, start.signal_at_end_of_parent, 0, 0, 0)
    if os.getppid() != owner:
        os._exit(128 + signal.SIGKILL)
    os.chdir(start.directory)
    os.umask(start.umask)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if start.ignores_sighup else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(start.environment)
    time.tzset()
    _, _, module, *arguments = start.argv
    _show_title(start.argv)
    _open_standard_streams()
    searched = [path for path in start.environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [start.directory, *searched, *(path for path in sys.path[1:] if path not in searched)]
    sys.dont_write_bytecode = bool(start.environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.orig_argv, sys.argv = list(start.argv), [module, *arguments]
    sys.modules.pop(module, None)  # as in an interpreter, it is imported as `__main__` only
    if FLEET in arguments:
        server = ForkServer()
        server.fork()
        server.install()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


def _open_standard_streams() -> None:
    """The streams of the server may be of another kind: a file, a pipe, a terminal."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        old = getattr(sys, f"__{name}__")
        stream = open(number, mode, encoding=old.encoding, errors=old.errors, closefd=False)  # noqa: SIM115
        lines = not unbuffered and (name == "stderr" or stream.isatty())
        stream.reconfigure(line_buffering=lines, write_through=unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _show_title(argv: Sequence[str]) -> None:
    """Write the command line where `ps` and /proc/PID/cmdline read it, as much as there is room for."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = map(int, fields[45:47])  # arg_start, arg_end: the 48th and 49th field
    text = b"\0".join(map(os.fsencode, argv))[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b"\0"), end - begin)


def import_modules() -> None:
    """Import what the programs import."""
    with no_garbage_collection():
        for name in IMPORTED:
            importlib.import_module(name)


def main(descriptor: str) -> NoReturn:
    """Serve the owner at the other end of a socket."""
    import_modules()
    serve(socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    importlib.import_module("tests.fork_server").main(sys.argv[1])
