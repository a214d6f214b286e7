"""The vectors of a job for embeddings, as a program uses them."""

from __future__ import annotations

from dataclasses import dataclass

from openfall.producers.errors import NoEmbeddings
from openfall.router_core.jobs.embeddings import packed_vectors, unpack_vector
from openfall.router_core.jobs.result import Result


@dataclass(frozen=True, slots=True)
class Embeddings:
    """`vectors`: one for each text, in the order of the texts. `result`: the whole result of the job, with its cost."""

    vectors: list[list[float]]
    result: Result

    @property
    def model(self) -> str | None:
        """The model that gave the vectors. Vectors of two models must not be compared."""
        return self.result.model


def to_embeddings(result: Result) -> Embeddings:
    """The vectors of a result. Raises `NoEmbeddings`."""
    if not result.answered or result.body is None:
        raise NoEmbeddings(result.id, result.degraded_why or result.detail or "no model could be called")
    return Embeddings([unpack_vector(packed) for packed in packed_vectors(result.body)], result)
