"""The errors of a producer.

OpenfallError                 in `router_core.errors`
├── InvalidOperation          in `router_core.errors`: the client, stream or model cannot be used here
│   └── ClientClosed          the client was closed before
└── ProducerError
    ├── BadRequest            the request is malformed: nothing was submitted
    │   └── RequestTooComplex it has too many values, or is nested too deeply
    ├── PromptTooLarge        the request is larger than the configuration allows: nothing was submitted
    ├── NoModel               no model can be called now, or none can take the request
    ├── NoEmbeddings          a job for embeddings ended without vectors, or is held
    ├── StillQueued           the time to wait is over, the job goes on (also a TimeoutError)
    └── BatchFileError        a file of a batch cannot be used
        └── OutputWriteError  the output file cannot be written: its rows are kept

Beside these come `router_core.state.errors.StoreError` (Redis), `router_core.catalog.UnknownName` (a role or model),
`config.ConfigError` and `config.NoRedis`.
"""

from __future__ import annotations

from openfall.producers.shell_command import shell_command
from openfall.router_core.errors import InvalidOperation, OpenfallError


class ProducerError(OpenfallError):
    """Base class. The message names the remedy and shows neither prompt nor secret."""


class BadRequest(ProducerError, ValueError):
    """An argument or a request is malformed. The message names the argument and what is expected. `is_local_only`: it
    must stay in the local pools, and only other models could take it."""

    remedy = "correct it"

    def __init__(self, message: str, *, is_local_only: bool = False) -> None:
        self.is_local_only = is_local_only
        super().__init__(message)


class RequestTooComplex(BadRequest):
    """The request has too many values, or is nested too deeply. `place`: the field that has them."""

    remedy = "send it in parts, or as text"

    def __init__(self, fault: str, place: str) -> None:
        self.place = place
        super().__init__(f"the request {fault}, in `{place}`: send it in parts, or as text")


class PromptTooLarge(ProducerError):
    """The request has more bytes than `limits.max_prompt` allows."""

    remedy = "shorten it, or raise the limit"

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        self.size_bytes, self.max_bytes = size_bytes, max_bytes
        super().__init__(
            f"the request has {size_bytes:,} bytes, more than the {max_bytes:,} allowed: "
            "shorten it, or raise `limits: {max_prompt: ...}` in the configuration"
        )


class NoModel(ProducerError):
    """No model can be called now, or none can take the request. The message has the reason for each model."""

    remedy = "change the request or the configuration"


class NoEmbeddings(ProducerError):
    """A job for embeddings has no vectors: it failed, or it is held until its model takes calls. `job_id` names it."""

    remedy = "ask again when the model takes calls"
    job_id: str

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(f"no vectors for job {job_id}: {why}")


class StillQueued(ProducerError, TimeoutError):
    """The maximum wait is over. The job continues: its result can be fetched later by `job_id`."""

    remedy = "ask later with this id"
    job_id: str

    def __init__(self, job_id: str, *, redis_answers: bool = True) -> None:
        self.job_id = job_id
        command = shell_command("openfall job wait", job_id)
        state = "no answer yet: " if redis_answers else "no answer yet, and Redis does not answer. Once it does, "
        super().__init__(f"{state}job {job_id} continues. Its answer, later: {command}")


class ClientClosed(InvalidOperation):
    """The client is closed."""

    remedy = "make a new client"

    def __init__(self) -> None:
        super().__init__("this client is closed: make a new one")


class BatchFileError(ProducerError):
    """A file of a batch cannot be used. The message names the file and the remedy."""

    remedy = "see the message"


class OutputWriteError(BatchFileError):
    """The output file cannot be written, or has left its path. The jobs go on; the same command resumes the batch."""

    remedy = "see the message, then run the same command again"
