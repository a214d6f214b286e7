"""Serves a model like llama-server, with the wheel `xllamacpp`: loopback HTTP, /health is 503 while loading, then 200.

Exit status: 0 on SIGTERM or SIGINT; 1 with one line that names the error (a model that cannot be loaded, a port that is
taken, no wheel); 2 for a wrong command line. While the model loads, the library holds the interpreter lock: then a
signal ends the process at once, with the signal as its status.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openfall.workers.local.package_files import install_command
from openfall.workers.local.ports import port_taken

PREFIX = "engine: "
"""The beginning of that line, which tells it from the library's own lines."""

_MAGIC = b"GGUF"

_SIGNAL_CHECK_S = 0.5
"""A signal interrupts the wait. One that arrives just before a wait begins is handled when it ends; without an end it
would be lost. Measured just after the start: without an end 1 of 131 stops was lost, with it none of 494."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one model until a signal; returns the exit status."""
    options = _parser().parse_args(argv)
    if problem := _check(options):
        return _fail(problem)
    try:
        import xllamacpp
    except ImportError as error:
        return _fail(f"the package `xllamacpp` cannot be loaded ({error}). Run: {install_command('xllamacpp')}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        _server = xllamacpp.Server(_parameters(xllamacpp, options))  # its threads serve while this name refers to it
    except RuntimeError:
        return _fail(_load_error(options))
    # The library's own shutdown is not used: just after loading it waits for ever and holds the interpreter lock.
    # The system closes the port and frees the memory just as well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    while True:
        time.sleep(_SIGNAL_CHECK_S)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="engine", allow_abbrev=False, description=__doc__)
    parser.add_argument("-m", "--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--port", type=int, required=True, help="on loopback")
    parser.add_argument("-a", "--alias", action="append", default=[], help="a name of the model; may be repeated")
    parser.add_argument(
        "-c", "--ctx-size", type=int, default=0, help="tokens, shared evenly by the slots; 0: the model's own"
    )
    parser.add_argument("-np", "--parallel", type=int, default=1, help="slots")
    parser.add_argument("-t", "--threads", type=int, help="compute threads; default: one per core")
    parser.add_argument("-ngl", "--n-gpu-layers", type=int, help="default: as many as fit")
    parser.add_argument("--embeddings", action="store_true", help="turn texts into vectors, and complete nothing")
    return parser


def _check(options: argparse.Namespace) -> str | None:
    """The error that can be found before the library is loaded."""
    try:
        with options.model.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        return f"the model {options.model} cannot be read: {error.strerror}. Check its path."
    if magic != _MAGIC:
        return f"the model {options.model} is not a GGUF file. Download it again."
    return _port_taken_message(options.port) if port_taken(options.port) else None


def _port_taken_message(port: int) -> str:
    return f"port {port} is taken by another program. Stop it, or choose another port."


def _load_error(options: argparse.Namespace) -> str:
    """The library has one error for everything. Its reasons are in its log lines."""
    if port_taken(options.port):
        return _port_taken_message(options.port)
    return (
        f"the model {options.model} cannot be loaded: it is damaged, unknown to this engine, or too large for "
        "the memory. Download it again, or choose a smaller model or context."
    )


def _parameters(library: Any, options: argparse.Namespace) -> Any:
    params = library.CommonParams()
    params.model.path = str(options.model)
    params.hostnames, params.port = ["127.0.0.1"], options.port
    params.n_ctx, params.n_parallel = options.ctx_size, options.parallel
    params.model_alias = set(options.alias)
    params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = params.use_jinja = True
    params.ui = False
    # Fitting the model to the memory of a GPU loads it twice, which costs 0.5 s and helps nothing without a GPU.
    devices = library.get_device_info()
    params.fit_params = any(
        device["type"] != library.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU for device in devices
    )
    # By default every page in a browser may read the responses.
    params.cors_origins, params.cors_origins_explicit = f"http://127.0.0.1:{options.port}", True
    if options.embeddings:
        params.embedding = True
        params.n_batch = params.n_ubatch = max(params.n_batch, options.ctx_size // options.parallel)  # a text is one
        if params.pooling_type == library.llama_pooling_type.LLAMA_POOLING_TYPE_UNSPECIFIED:
            params.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if options.threads:
        params.cpuparams.n_threads = options.threads
    if options.n_gpu_layers is not None:
        params.n_gpu_layers = options.n_gpu_layers
    return params


def _fail(message: str) -> int:
    sys.stderr.write(f"{PREFIX}{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
