"""Where a live server is reached, by what it listens on."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from netplayground.session.ports import Listening, Ports

MS = 1_000_000
ANY = IPv4Address("0.0.0.0")


class Server:
    """A server that listens on `open`; time passes between any two questions."""

    def __init__(self, *known: int) -> None:
        self.open: list[int] = []
        self.looks = 0
        self.now = 0
        self.cost = 0
        self.ports = Ports(frozenset(known), self._listening, lambda: self.now)

    def _listening(self) -> Listening:
        self.looks += 1
        self.now += self.cost
        return {(ANY, port) for port in self.open}

    def find(self, port: int, is_dynamic: bool = False, tries: int = 9) -> int | None:
        self.now += 10 * MS
        return self.ports.find(port, is_dynamic, tries)

    def reached(self, port: int) -> None:
        self.now += 10 * MS
        self.ports.reached(port)


@pytest.fixture
def server() -> Server:
    return Server(21)


def test_the_recorded_port_is_tried_first_without_a_look(server: Server) -> None:
    assert [server.find(21, tries=tries) for tries in range(3)] == [21, 21, 21]
    assert server.looks == 0


def test_a_server_that_is_not_up_yet_is_tried_on_its_recorded_port(server: Server) -> None:
    assert server.find(21) == 21
    server.open = [9090]  # it has more than the recording knows, and that comes first
    assert server.find(21) == 21
    server.open = [9090, 21]
    assert server.find(21) == 21


def test_thousands_that_wait_look_once(server: Server) -> None:
    for _ in range(2000):
        assert server.ports.find(21, False, 9) == 21
    assert server.looks == 1


def test_looks_take_a_tenth_of_the_time_at_most(server: Server) -> None:
    server.cost = 16 * MS
    began = server.now
    for _ in range(10_000):
        assert server.ports.find(21, False, 9) == 21
        server.now += MS // 10
    assert server.looks * server.cost <= (server.now - began) // 10 + server.cost


def test_a_port_that_the_kernel_chose_is_awaited_and_then_the_one_of_now(server: Server) -> None:
    server.open = [21]
    assert server.find(40_001, is_dynamic=True) is None
    server.open = [21, 51_234]
    assert server.find(40_001, is_dynamic=True) == 51_234
    assert server.find(40_001, is_dynamic=True) == 51_234


def test_a_fixed_port_of_the_dynamic_range_is_itself(server: Server) -> None:
    server.open = [50_051]
    assert server.find(50_051, is_dynamic=True) == 50_051
    server.open = [50_051, 41_000]
    assert server.find(50_051, is_dynamic=True) == 50_051


def test_each_recorded_port_has_one_of_its_own_the_newest(server: Server) -> None:
    server.open = [21, 50_001]
    assert server.find(40_001, is_dynamic=True) == 50_001
    server.open = [21, 50_001, 50_002]
    assert server.find(40_002, is_dynamic=True) == 50_002
    assert server.find(40_003, is_dynamic=True) is None
    assert server.find(40_001, is_dynamic=True) == 50_001


def test_another_ports_stand_in_is_not_taken_though_it_has_the_recorded_number(server: Server) -> None:
    server.open = [21, 40_002]
    assert server.find(40_001, is_dynamic=True) == 40_002
    assert server.find(40_002, is_dynamic=True) is None
    server.open = [21, 40_002, 40_009]
    assert server.find(40_002, is_dynamic=True) == 40_009


def test_a_stand_in_that_listens_no_more_is_followed_by_another(server: Server) -> None:
    server.open = [21, 50_001]
    assert server.find(40_001, is_dynamic=True) == 50_001
    server.open = [21]
    assert server.find(40_001, is_dynamic=True) is None
    server.open = [21, 50_002]
    assert server.find(40_001, is_dynamic=True) == 50_002


def test_the_kernel_may_choose_a_port_again_for_something_else(server: Server) -> None:
    server.open = [21, 50_001]
    assert server.find(40_001, is_dynamic=True) == 50_001
    assert server.find(40_002, is_dynamic=True) is None
    server.reached(40_001)  # closed, and opened once more, before anybody looked again
    assert server.find(40_002, is_dynamic=True) == 50_001


def test_a_server_that_chooses_ports_below_the_dynamic_range_is_followed() -> None:
    server = Server(21, 12_345)
    server.open = [21, 9090]
    server.reached(21)
    assert server.find(12_345) == 12_345  # nothing new: it may come
    server.open = [21, 9090, 23_456]
    assert server.find(12_345) == 23_456
    assert server.find(12_345, tries=0) == 23_456  # as long as it listens
    server.open = [21, 9090]
    assert server.find(12_345) == 12_345


def test_known_ports_stand_for_nothing_else() -> None:
    server = Server(80, 443)
    server.open = [80]
    server.reached(80)
    server.open = [80, 443]
    assert server.find(40_001, is_dynamic=True) is None
    assert server.find(8080) == 8080
