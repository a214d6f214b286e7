"""`openfall embed`: prints the vectors of texts to standard output, and the receipt to standard error."""

from __future__ import annotations

from typing import Any, cast

import click
from pydantic_core import to_json

from openfall.producers.cli.options import common_options, read_text, route_options, submit_options, with_client
from openfall.producers.cli.render import receipt
from openfall.producers.cli.submission import Submission
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.producers.cli.time_options import DURATION
from openfall.producers.client import AsyncOpenfall
from openfall.producers.embeddings_result import Embeddings, to_embeddings
from openfall.producers.job_request import SubmitOptions
from openfall.router_core.state.errors import LostJob


@click.command()
@click.argument("texts", metavar="TEXT...", nargs=-1, required=True)
@route_options("role", "task", "model", "group", "local_only", "urgency")
@click.option("--dimensions", type=click.IntRange(min=1), help="The length of each vector, where the model allows it.")
@click.option(
    "--expires-in", type=DURATION, help="Expire the job after this time: 90s, 5m, 2h. Default: that of its urgency."
)
@click.option(
    "--wait", type=DURATION, help="Maximum wait. Then exits with 7; the job continues. Default: until the job ends."
)
@common_options
def embed(texts: tuple[str, ...], **options: Any) -> None:
    """Print the vector of each text: a line of JSON for each, in their order. - takes each line of standard input for a
    text.

    One model gives all of them. Vectors of two models must not be compared. Ctrl-C stops the wait, not the job.
    """
    lines = [line for text in texts for line in _lines(text)]
    if not lines:
        raise click.UsageError("there is no text: standard input is empty")
    submission = Submission()
    with submission.explain_interrupt():
        embeddings = with_client(lambda llm: _embed(llm, lines, options, submission))
    if wants_json():
        show_json({**embeddings.result.as_json(), "vectors": embeddings.vectors, "text": ""})
        return
    for vector in embeddings.vectors:
        echo(_packed(vector))
    print_line(receipt(embeddings.result))


def _lines(text: str) -> list[str]:
    return [text] if text != "-" else [line for line in read_text("-").splitlines() if line.strip()]


async def _embed(llm: AsyncOpenfall, texts: list[str], options: dict[str, Any], submission: Submission) -> Embeddings:
    wait, dimensions = options.pop("wait"), options.pop("dimensions")
    given = {name: value for name, value in submit_options(options).items() if value is not None}
    terms = cast("SubmitOptions", {**given, "kind": "embedding"})
    prompt: Any = texts if dimensions is None else {"input": texts, "dimensions": dimensions}
    job = await submission.submit(llm, prompt, **terms)
    try:
        result = await llm.wait(job, wait)
    except LostJob:
        print_line(f"Redis has lost job {job.id}: submitted again")
        result = await llm.wait(await submission.submit(llm, prompt, **terms), wait)
    return to_embeddings(result)


def _packed(vector: list[float]) -> str:
    return to_json(vector).decode()
