"""The errors of a producer.

ProducerError
├── BadRequest            the request is malformed: nothing was submitted
├── PromptTooLarge        the request is larger than the configuration allows: nothing was submitted
├── NoModel               no model can be called now, or none can take the request
├── StillQueued           the time to wait is over, the job goes on (also a TimeoutError)
└── BatchFileError        a file of a batch cannot be used
    └── OutputWriteError  the output file cannot be written: its rows are kept

Beside these come `router_core.state.errors.StoreError` (Redis), `router_core.catalog.UnknownName` (a role or model),
`config.ConfigError` and `config.NoRedis`.
"""

from __future__ import annotations


class ProducerError(Exception):
    """Base class. The message names the remedy and shows neither prompt nor secret."""


class BadRequest(ProducerError):
    """No model could answer this request."""


class PromptTooLarge(ProducerError):
    """The request has more bytes than `limits.max_prompt` allows."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        self.size_bytes, self.max_bytes = size_bytes, max_bytes
        super().__init__(
            f"the request has {size_bytes:,} bytes, more than the {max_bytes:,} allowed: "
            "shorten it, or raise `limits: {max_prompt: ...}` in the configuration"
        )


class NoModel(ProducerError):
    """No model can be called now, or none can take the request. The message has the reason for each model."""


class StillQueued(ProducerError, TimeoutError):
    """The time to wait is over. The job goes on: its result can be fetched later by `job_id`."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"no answer yet: job {job_id} goes on; fetch its result later by this id")


class BatchFileError(ProducerError):
    """A file of a batch cannot be used. The message names the file and the remedy."""


class OutputWriteError(BatchFileError):
    """The output file cannot be written. The jobs go on; the same command resumes the batch."""
