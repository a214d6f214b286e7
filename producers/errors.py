"""What a producer is told when a job cannot be put in, or is not answered yet.

ProducerError
├── BadRequest       the request is malformed: nothing was put in
├── PromptTooLarge   the request is larger than the configuration allows: nothing was put in
├── NoModel          no model can be called now, or none can or may take the request
├── StillQueued      the wait is over, the job is not: it goes on
└── FileTrouble      a file of a batch cannot be read or shared
    └── CannotWrite  the output cannot be written any further: what it has is kept

Beside these come `router_core.state.errors.StoreError` (Redis), `router_core.catalog.UnknownName` (a role or model) and
`config.ConfigError`, `config.NoRedis`.
"""

from __future__ import annotations


class ProducerError(Exception):
    """Any of the below. The message names the remedy and shows neither prompt nor secret."""


class BadRequest(ProducerError):
    """The request is not one that a model could answer."""


class PromptTooLarge(ProducerError):
    """The request has more bytes than `limits.prompt` allows."""

    def __init__(self, size: int, most: int) -> None:
        self.size, self.most = size, most
        super().__init__(
            f"the request has {size:,} bytes, more than the {most:,} allowed: "
            "shorten it, or raise `limits: {max_prompt: ...}` in the configuration"
        )


class NoModel(ProducerError):
    """No model can be called now, or none can or may take the request. The message tells why of each."""


class NotFinished(ProducerError):
    """Nobody waits any longer, but the job goes on: ask for it later by `job_id`."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no answer yet: job {job_id} goes on without you; ask for it later by this id")


class BatchFileError(ProducerError):
    """A file of a batch cannot be used. The message names it and says what to do."""


class CannotWrite(BatchFileError):
    """There is no room for another answer. The jobs go on, and the same command goes on where it was."""
