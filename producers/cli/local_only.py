"""`openfall local-only`: the switch of the whole fleet that lets nothing leave the local pools."""

from __future__ import annotations

from pathlib import Path

import click

from openfall.producers.cli.options import (
    config_option,
    json_option,
    opened,
    run,
)
from openfall.producers.cli.render import print_line, show_json


@click.command("local-only")
@click.argument("wish", metavar="[on|off]", type=click.Choice(["on", "off"]), required=False)
@click.option("--reason", default="", help="What whoever looks next should know.")
@config_option
@json_option
def local_only(wish: str | None, reason: str, config_path: Path | None, as_json: bool) -> None:
    """Let nothing leave the local pools from now on, or let it again; without a word, how it is.

    It holds for what is queued already, on fallback and replay too. Calls under way end.
    """
    why, fixed = run(_switch(config_path, wish, reason))
    if as_json:
        show_json({"local_only": why is not None or fixed, "reason": why, "by_configuration": fixed})
    elif why is not None:
        click.echo(f"local-only is on: nothing leaves the local pools ({why})")
    else:
        click.echo("local-only is off")
    if fixed and not as_json:
        print_line("the configuration says it too (privacy: local_only), whatever this switch says")


async def _switch(config_path: Path | None, wish: str | None, reason: str) -> tuple[str | None, bool]:
    from openfall.router_core.state.fleet_flags import local_only, set_local_only

    async with opened(config_path) as llm:
        if wish is not None:
            await set_local_only(llm.store.connection, wish == "on", reason)
        return await local_only(llm.store.connection), llm.config.catalog.local_only
