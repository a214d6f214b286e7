import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

WORKER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('{"event": "ready"}', flush=True)
while True:
    time.sleep(0.05)
"""

WITNESS = """
import redis, os, signal, sys, time
def leave(*_):
    answers = redis.Redis.from_url(os.environ["REDIS_URL"]).ping()
    os.write(1, b'{"event": "left", "valkey": %d}\\n' % answers)  # print bears no signal in the middle of a print
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
os.write(1, b'{"event": "ready"}\\n')
while True:
    time.sleep(0.05)
"""

SLOW = """
import os, signal, sys, time
times = []
def again(*_):
    times.append(1)
    os.write(1, b'{"event": "signalled", "times": %d}\\n' % len(times))
    if len(times) == 2:
        sys.exit(0)
signal.signal(signal.SIGTERM, again)
print('{"event": "ready"}', flush=True)
while True:
    time.sleep(0.05)
"""


def url(data: Path) -> str:
    return (data / "redis.url").read_text().strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_workers_stop_first_and_valkey_last(data: Path, up: Any, number: signal.Signals) -> None:
    fleet = up(data=data, workers=[["gpu", 2, WITNESS]])
    fleet.until("fleet_ready")
    assert fleet.end(number) == 0
    assert [event["valkey"] for event in fleet.events if event["event"] == "left"] == [1, 1]
    stopped = [event["what"] for event in fleet.events if event["event"] == "stopped"]
    assert sorted(stopped[:2]) == ["worker-gpu-1", "worker-gpu-2"]
    assert stopped[2:] == ["valkey"]


def test_ctrl_c_does_not_reach_the_services_themselves(data: Path, up: Any) -> None:
    fleet = up(data=data, workers=[["gpu", 1, WITNESS]])
    worker = fleet.until("ready", "worker-gpu-1")["pid"]
    fleet.until("fleet_ready")
    assert os.getpgid(worker) == worker
    assert fleet.end(signal.SIGINT) == 0


def test_a_second_signal_shortens_the_grace(data: Path, up: Any) -> None:
    fleet = up(data=data, workers=[["gpu", 1, SLOW]])
    fleet.until("fleet_ready")
    fleet.process.send_signal(signal.SIGTERM)
    assert fleet.until("signalled", "worker-gpu-1")["times"] == 1
    assert fleet.end() == 0
    assert {"event": "signalled", "times": 2, "what": "worker-gpu-1"} in fleet.events


def test_a_worker_that_exceeds_its_grace_is_killed(data: Path, up: Any) -> None:
    fleet = up(data=data, grace=0.2, valkey=False, workers=[["gpu", 1, WORKER.replace("sys.exit(0)", "None")]])
    fleet.until("fleet_ready")
    assert fleet.end() == 0
    assert {"event": "stopped", "what": "worker-gpu-1", "code": -signal.SIGKILL} in fleet.events


def test_a_killed_service_is_restarted_and_valkey_keeps_its_data(data: Path, up: Any) -> None:
    fleet = up(data=data, workers=[["gpu", 1, WORKER]])
    valkey = fleet.until("ready", "valkey")["pid"]
    worker = fleet.until("ready", "worker-gpu-1")["pid"]
    fleet.until("fleet_ready")
    with redis.Redis.from_url(url(data)) as client:
        client.set("kept", "yes")
        client.waitaof(1, 0, 5000)
    os.kill(valkey, signal.SIGKILL)
    exited = fleet.until("exited", "valkey")
    assert (exited["code"], exited["restarting_in"]) == (-signal.SIGKILL, 0.2)
    assert fleet.until("ready", "valkey")["pid"] != valkey
    with redis.Redis.from_url(url(data)) as client:
        assert client.get("kept") == b"yes"
    os.kill(worker, signal.SIGKILL)
    fleet.until("exited", "worker-gpu-1")
    assert fleet.until("ready", "worker-gpu-1")["pid"] != worker
    assert fleet.end() == 0


def test_a_killed_supervisor_leaves_no_process_and_no_lock(
    data: Path, up: Any, model: Path, port: int, gone: Callable[[int], bool]
) -> None:
    engine = {"name": "demo", "model": str(model), "port": port, "ctx": 256, "threads": 1, "notice": "a toy"}
    fleet = up(data=data, engines=[engine], workers=[["gpu", 1, WORKER]])
    fleet.until("notice", "engine-demo")
    fleet.until("fleet_ready")
    pids = {event["what"]: event["pid"] for event in fleet.events if event["event"] == "ready"}
    assert set(pids) == {"valkey", "engine-demo", "worker-gpu-1"}
    fleet.end(signal.SIGKILL)
    assert [what for what, pid in pids.items() if not gone(pid)] == []
    again = up(data=data)
    assert again.until("ready", "valkey")["adopted"] is False
    assert again.end() == 0


def test_a_second_up_in_the_same_directory_names_the_first(data: Path, up: Any) -> None:
    first = up(data=data)
    first.until("fleet_ready")
    second = up(data=data)
    assert second.process.wait(60) == 1
    assert f"already runs here (pid {first.process.pid}," in second.process.stderr.read().decode()
    assert first.end() == 0


def test_workers_that_end_by_themselves_end_a_fleet_of_workers(data: Path, up: Any) -> None:
    fleet = up(data=data, valkey=False, workers=[["gpu", 2, WORKER.replace("while True:\n    time.sleep(0.05)", "")]])
    assert fleet.wait() == 0
    assert [event["event"] for event in fleet.events].count("finished") == 2


def test_a_worker_that_refuses_its_command_line_is_not_started_again(data: Path, up: Any) -> None:
    code = WORKER.replace("while True:\n    time.sleep(0.05)", "sys.exit(2)")
    fleet = up(data=data, valkey=False, workers=[["gpu", 1, code]])
    assert fleet.wait() == 2
    assert {"event": "gave_up", "what": "worker-gpu-1", "code": 2} in fleet.events


def test_a_service_that_cannot_start_stops_the_others_and_names_the_reason(
    data: Path, up: Any, tmp_path: Path, port: int
) -> None:
    engine = {"name": "demo", "model": str(tmp_path / "none.gguf"), "port": port}
    fleet = up(data=data, engines=[engine], workers=[["gpu", 1, WORKER]])
    assert fleet.process.wait(60) == 1
    assert fleet.process.stderr.read().decode().startswith("engine demo: the model ")
    assert not (data / "valkey.sock").exists()
