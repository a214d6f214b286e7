"""A client after a fork, in a second event loop, in several threads, at the end of a program: an answer or an error at
once, and never a hang. Each place is a real process of its own."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openfall import AsyncOpenfall, InvalidOperation, Openfall

TREE = Path(__file__).resolve().parents[2]
CLOSED = "ClientClosed this client is closed: make a new one"


@pytest.fixture
def use(config_file: Path, redis_url: str, worker_for: Any) -> Any:
    """`use(place)`: run a place of `client_places` beside a worker that answers no job of the role `tags`."""

    def run(place: str) -> list[str]:
        command = [sys.executable, "-m", "tests.producers.client_places", place, str(config_file)]
        environment = {"PATH": "/usr/bin:/bin", "REDIS_URL": redis_url, "PYTHONPATH": str(TREE)}
        environment["SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"]
        with worker_for(models=("tiny",)):
            ran = subprocess.run(
                command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=180, check=False
            )
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines()

    return run


def test_a_client_that_was_used_works_in_a_forked_child_and_in_its_parent(use: Any) -> None:
    assert use("fork_after_use") == ["echo parent", "echo child", "child 0", "echo parent again"]


@pytest.mark.parametrize("make", [Openfall, AsyncOpenfall])
@pytest.mark.parametrize("send", [pickle.dumps, copy.deepcopy])
def test_a_client_cannot_be_sent_to_another_process(config_file: Path, make: Any, send: Any) -> None:
    with pytest.raises(InvalidOperation, match="make one there"):
        send(make(config=config_file))


def test_a_client_that_was_made_before_a_fork_works_in_both_processes(use: Any) -> None:
    assert use("fork_before_use") == ["echo child", "child 0", "echo parent"]


def test_a_forked_child_that_does_not_use_the_client_ends(use: Any) -> None:
    assert use("fork_that_only_ends") == ["echo parent", "nothing", "child 0", "echo parent again"]


def test_a_forked_child_that_closes_the_client_leaves_its_parent_alone(use: Any) -> None:
    assert use("fork_that_closes") == ["echo parent", "None", "child 0", "echo parent again"]


def test_no_call_is_the_first_for_which_the_compiled_code_of_pydantic_imports_a_module(use: Any) -> None:
    assert use("imports_of_pydantic") == ["echo hi", "[]"]


def test_a_fork_while_other_threads_use_the_client_harms_neither_process(use: Any) -> None:
    assert use("fork_while_threads_ask") == ["echo child", "child 0", str([f"echo thread {n}" for n in range(8)])]


def test_a_fork_while_another_thread_holds_every_shared_lock_gives_a_child_that_works(use: Any) -> None:
    assert use("fork_while_a_thread_holds_every_lock") == ["echo parent", "echo child", "child 0 True"]


def test_a_grandchild_has_a_client_of_its_own(use: Any) -> None:
    assert use("fork_of_a_fork") == ["echo parent", "echo grandchild", "child 0", "echo child", "child 0"]


def test_a_stream_of_the_parent_is_an_error_in_a_forked_child(use: Any) -> None:
    first, error, child = use("fork_with_an_open_stream")
    assert (first, child) == ("queued", "child 0")
    assert error.startswith("InvalidOperation this belongs to the process before the fork")


def test_a_client_works_in_a_pool_of_forked_processes(use: Any) -> None:
    assert use("multiprocessing_pool") == ["echo parent", "['echo one', 'echo three', 'echo two']"]


def test_the_shared_client_of_the_module_functions_works_after_a_fork(use: Any) -> None:
    assert use("default_client_after_fork") == ["True", "True", "child 0", "True"]


def test_an_async_client_works_in_the_loop_of_a_forked_child(use: Any) -> None:
    assert use("async_client_after_fork") == ["echo parent", "echo child", "child 0", "echo parent again"]


def test_a_fork_within_a_loop_leaves_the_loop_of_the_parent_alone(use: Any) -> None:
    parent, child, first, error, second, again = use("fork_within_a_loop")
    assert (parent, child, first, second, again) == (
        "echo parent", "echo child", "child 0", "child 0", "echo parent again")  # fmt: skip
    assert error.startswith("InvalidOperation AsyncOpenfall works in a coroutine of a running asyncio loop")


def test_one_client_works_in_one_event_loop_after_another(use: Any) -> None:
    assert use("second_loop") == ["echo loop 0", "echo loop 1", "echo loop 2"]


def test_one_client_works_in_several_event_loops_at_the_same_time(use: Any) -> None:
    assert use("loops_at_the_same_time") == [str([f"echo loop {n}" for n in range(4)])]


def test_the_plain_client_works_within_a_running_loop(use: Any) -> None:
    assert use("running_loop") == ["echo in a notebook"]


def test_the_async_client_without_a_loop_is_an_error_that_names_the_remedy(use: Any) -> None:
    (error,) = use("no_loop")
    assert error.startswith("InvalidOperation AsyncOpenfall works in a coroutine of a running asyncio loop")


def test_a_call_that_waits_ends_with_an_error_when_another_thread_closes_the_client(use: Any) -> None:
    assert use("closed_elsewhere") == [CLOSED, CLOSED]


def test_a_program_that_closes_no_client_ends_without_a_warning(use: Any) -> None:
    assert use("exit_without_close") == ["echo never closed"]


def test_the_thread_of_a_client_ends_with_the_last_reference_to_it(use: Any) -> None:
    assert use("client_for_each_call") == ["echo first", "True []", "('echo letter', None)", "True"]


def test_the_garbage_collector_ends_clients_with_open_streams_and_breaks_no_connection(use: Any) -> None:
    assert use("clients_in_cycles") == ["{'queued'}", "5 []"]


def test_a_loop_that_ends_without_a_cancel_of_its_tasks_reports_none_of_the_client(use: Any) -> None:
    assert use("loop_without_an_end") == ["echo open loop", "echo closed loop"]


def test_a_call_after_the_client_was_closed_at_exit_is_an_error_at_once(use: Any) -> None:
    assert use("call_at_exit") == ["echo before", CLOSED]
