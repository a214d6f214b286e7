import asyncio
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from openfall.producers.gateway.serve import CannotListen, listening_sockets
from openfall.workers.local.engine import EngineSpec
from openfall.workers.local.errors import LocalError
from openfall.workers.local.ports import describe_port_holder
from openfall.workers.local.services import WorkerSpec
from openfall.workers.local.supervisor import SupervisorPlan, run


def start(tmp_path: Path, engines: list[int], addresses: tuple[str, ...], events: list[dict[str, Any]]) -> int:
    """Run a fleet of engines on these ports and of a gateway that stops at once."""
    plan = SupervisorPlan(
        data=tmp_path,
        engines=tuple(
            EngineSpec(name=f"engine-{port}", model=Path("none.gguf"), port=port, port_setting=f"set PORT_{port}")
            for port in engines
        ),
        workers=(
            WorkerSpec(
                pool="", label="gateway", optional=True, argv=(sys.executable, "-c", ""),
                addresses=addresses, address_setting="set OPENFALL_PORT",
            ),
        ),
    )  # fmt: skip
    return asyncio.run(run(plan, events.append))


def test_all_taken_ports_are_named_at_once_and_nothing_starts(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second, third = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(3)
        )
        events: list[dict[str, Any]] = []
        with pytest.raises(LocalError) as failure:
            start(tmp_path, [first, second], (f"127.0.0.1:{third}", f"*:{third}"), events)
    lines = str(failure.value).splitlines()
    assert [line.split(" is taken by ")[0] for line in lines] == [
        f"engine engine-{first}: port {first}",
        f"engine engine-{second}: port {second}",
        f"gateway: 127.0.0.1:{third}",
        f"gateway: *:{third}",
    ]
    remedies = [f"set PORT_{first}", f"set PORT_{second}", "set OPENFALL_PORT", "set OPENFALL_PORT"]
    assert all(remedy in line for line, remedy in zip(lines, remedies, strict=True))
    assert [event["event"] for event in events] == []


def test_a_fleet_runs_without_a_gateway_whose_address_alone_is_taken(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert start(tmp_path, [], (f"127.0.0.1:{other.getsockname()[1]}",), events) == 0
    assert "fleet_ready" in [event["event"] for event in events]


def test_a_gateway_names_all_addresses_that_it_cannot_have() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder, socket.create_server(("127.0.0.1", 0)) as other:
        addresses = tuple(f"127.0.0.1:{other.getsockname()[1]}" for other in (holder, other))
        with pytest.raises(CannotListen) as failure, listening_sockets(("127.0.0.1:0", *addresses)):
            pass
    assert [line.split(": ")[0] for line in str(failure.value).splitlines()] == [
        f"cannot listen on {address}" for address in addresses
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_holder_of_a_port_of_ipv6_is_named() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert str(Path.cwd()) in describe_port_holder(listener.getsockname()[1])
