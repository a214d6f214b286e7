"""`openfall metrics`: prints what `/metrics` of the HTTP gateway reports."""

from __future__ import annotations

import click

from openfall.producers.cli.options import config_option, with_client
from openfall.producers.cli.terminal import echo
from openfall.producers.client import AsyncOpenfall
from openfall.producers.metrics.exposition import expose
from openfall.producers.metrics.metrics_reader import read_metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@click.command()
@config_option
@click.option("--openmetrics", is_flag=True, help="Use the format of OpenMetrics.")
def metrics(openmetrics: bool) -> None:
    """Print the metrics of the fleet, as `/metrics` of the HTTP gateway reports them to Prometheus."""

    async def read(llm: AsyncOpenfall) -> bytes:
        catalog = llm.config.catalog
        reading = await read_metrics(llm.store.connection, catalog)
        return expose(reading, catalog, OPENMETRICS if openmetrics else "").body

    for line in with_client(read).decode().splitlines():
        echo(line)
