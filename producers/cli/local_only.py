"""`openfall local-only`: the switch that keeps every job of the fleet in the local pools."""

from __future__ import annotations

import click

from openfall.producers.cli.options import common_options, with_operator
from openfall.producers.cli.terminal import echo, print_line, show_json, wants_json
from openfall.producers.operations.local_only_switch import set_local_only
from openfall.producers.operations.operator import Operator
from openfall.router_core.state import operator_switches


@click.command("local-only")
@click.argument("value", metavar="[on|off]", type=click.Choice(["on", "off"]), required=False)
@click.option("--reason", default="", help="A note for other operators.")
@common_options
def local_only(value: str | None, reason: str) -> None:
    """Keep every job in the local pools, or allow cloud pools again. Without an argument, show the switch.

    The switch applies to queued jobs, fallbacks and replays too. Running calls finish.
    """

    async def switch(operator: Operator) -> tuple[str | None, bool]:
        if value is not None:
            await set_local_only(operator, value == "on", reason)
        return await operator_switches.local_only(operator.link), operator.catalog.local_only

    why, configured = with_operator(switch)
    if wants_json():
        show_json({"local_only": why is not None or configured, "reason": why, "by_configuration": configured})
    elif why is not None:
        echo(f"local-only is on: no job leaves the local pools ({why})")
    else:
        echo("local-only is off")
    if configured and not wants_json():
        print_line("the configuration sets it too (privacy: local_only) and overrides this switch")
