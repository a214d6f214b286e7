"""A port for a server that starts later stays free until then."""

from __future__ import annotations

import socket

from benchmarks.server import PORTS, find_free_port


def test_no_port_is_given_twice_and_none_that_the_kernel_gives_too() -> None:
    ports = [find_free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert all(PORTS[0] <= port < PORTS[1] for port in ports)


def test_a_port_in_use_is_passed_over() -> None:
    taken = find_free_port() + 1
    with socket.create_server(("127.0.0.1", taken)):
        assert taken not in {find_free_port() for _ in range(3)}
