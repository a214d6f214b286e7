"""An idle worker beside full backends: how long it waits between two claims."""

from openfall.router_core.state import keys
from openfall.router_core.state.redis_connection import RedisConnection
from openfall.router_core.state.wake_up import WakeUp
from openfall.router_core.state.worker_subscription import BackendCapacity
from tests.faults import COMPLETION, answer
from tests.worker_harness import eventually


class RecordedWaits(WakeUp):
    """Notes how long its worker wants to wait, and waits for a moment."""

    def __init__(self, link: RedisConnection) -> None:
        super().__init__(link.server, ("gpu.small.background",))
        self.seconds: list[float] = []

    async def wait(self, timeout_seconds: float = 1.0) -> bool:
        self.seconds.append(timeout_seconds)
        return await super().wait(0.01)


def test_an_idle_worker_beside_full_backends_claims_less_and_less_often(working):
    async def story(bench, _):
        await bench.link.command("ZADD", f"{keys.LEASES}box", 10**14, "of-another-worker")
        waits = RecordedWaits(bench.link)
        bench.worker.wakeup, first = waits, await bench.accept()
        await eventually(lambda: waits.seconds[-2:] == [1.0, 1.0] and 0.05 in waits.seconds)
        begun = waits.seconds.index(0.05)
        assert waits.seconds[begun : begun + 6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
        await bench.link.command("DEL", f"{keys.LEASES}box")
        assert (await bench.result(first)).answered
        await waits.close()

    working(story, answer(COMPLETION), box=BackendCapacity("box", 1), housekeeping=False)
