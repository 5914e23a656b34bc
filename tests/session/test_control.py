"""A run that is led, seen from its leader's end of the socket; the processes are made up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any, cast

import pytest

from netplayground.session.control import LEADER_ENDS, LEADER_LEFT, Control
from netplayground.session.parcel import unpack
from netplayground.session.plan import PlannedProcess
from netplayground.session.processes import Processes, RunningProcess
from netplayground.session.sinks import Sinks
from netplayground.traffic.loop import Loop

PATIENCE_S = 20.0


class Sandboxed:
    """What a process's namespace would say."""

    def __init__(self) -> None:
        self.ports: set[tuple[IPv4Address, int]] = set()
        self.signals: list[int] = []

    def listening(self) -> set[tuple[IPv4Address, int]]:
        return self.ports

    def signal(self, number: int) -> None:
        self.signals.append(number)


class Troupe:
    """Processes that start and end when the test says so."""

    def __init__(self, *names: str) -> None:
        self.all = [
            RunningProcess(
                PlannedProcess(name, number, "run", IPv4Address(number), IPv6Address(number)),
                cast(Any, Sandboxed()),
            )
            for number, name in enumerate(names, 1)
        ]
        self.held = False

    def __getitem__(self, name: str) -> RunningProcess:
        return next(process for process in self.all if process.planned.name == name)

    def hold(self) -> None:
        self.held = True

    def let_start(self, name: str) -> None:
        self[name].started = True

    def finish_one(self, process: RunningProcess) -> None:
        end(process, ended_by_plg=True, signal=15)
        process.is_gone = True


def end(process: RunningProcess, **how: Any) -> None:
    process.has_ended = True
    process.outcome = replace(process.outcome, **how)


class Leader:
    """The other end of the socket."""

    def __init__(self, leader: int, *names: str) -> None:
        self.channel, there = socket.socketpair()
        self.channel.settimeout(PATIENCE_S)
        self.troupe = Troupe(*names, "seat")
        self.ends: list[str] = []
        self.flushed = 0
        self.questions: dict[str, Callable[[], object]] = {}
        self.loop = Loop()
        self.control = Control(there, leader, Sinks({}), "seat")
        self.control.attend(
            self.loop,
            {"up": ["10.0.0.1"]},
            cast(Processes, self.troupe),
            self._flush,
            self.ends.append,
            self.questions,
        )
        self._heard = b""

    def _flush(self) -> None:
        self.flushed += 1

    def say(self, **request: object) -> None:
        self.channel.sendall(json.dumps(request).encode() + b"\n")

    def run_until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S

        def look() -> None:
            assert time.monotonic() < deadline
            if holds():
                self.loop.stop()
            else:
                self.loop.call_after(0.002, look)

        look()
        self.loop.run()

    def hear(self) -> dict[str, Any]:
        """The next message, for which the loop runs."""

        def is_here() -> bool:
            self.channel.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._heard += self.channel.recv(65536)
            self.channel.settimeout(PATIENCE_S)
            return b"\n" in self._heard

        if b"\n" not in self._heard:
            self.run_until(is_here)
        line, _, self._heard = self._heard.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        self.channel.close()
        self.control.close()
        self.loop.close()


@pytest.fixture
def leader() -> Iterator[Leader]:
    leader = Leader(os.getpid(), "up", "idle")
    assert leader.hear() == {"event": "stands", "addresses": {"up": ["10.0.0.1"]}}
    yield leader
    leader.close()


def test_nobody_but_the_seat_starts_by_itself(leader: Leader) -> None:
    leader.run_until(lambda: leader.troupe["seat"].started)
    assert leader.troupe.held and not leader.troupe["up"].started
    leader.say(id=1, do="start", process="up")
    assert leader.hear() == {"id": 1}
    assert leader.troupe["up"].started
    leader.say(id=2, do="start", process="up")
    assert leader.hear() == {"id": 2, "error": "cannot start up: it has been started or stopped before"}
    leader.say(id=3, do="start", process="somebody")
    assert leader.hear() == {"id": 3, "canned": True}


def test_whoever_waits_is_answered_when_it_is_so(leader: Leader) -> None:
    leader.say(id=1, do="start", process="up")
    leader.hear()
    leader.say(id=2, do="await-listening", process="up", port=80)
    leader.say(id=3, do="await-listening", process="up", port=None)
    leader.say(id=4, do="await-end", process="up")
    cast(Sandboxed, leader.troupe["up"].sandboxed).ports = {(IPv4Address(0), 81)}
    assert leader.hear() == {"id": 3, "ports": [81]}
    cast(Sandboxed, leader.troupe["up"].sandboxed).ports = {(IPv4Address(0), 81), (IPv4Address(0), 80)}
    assert leader.hear() == {"id": 2, "ports": [80, 81]}
    end(leader.troupe["up"], exit_code=3)
    answer = leader.hear()
    assert (answer["id"], answer["ended"]["exit_code"]) == (4, 3)


def test_whoever_waits_for_one_that_ends_hears_of_its_end(leader: Leader) -> None:
    leader.say(id=1, do="await-listening", process="up", port=80)
    leader.run_until(lambda: leader.troupe["seat"].started)
    end(leader.troupe["up"], exit_code=1)
    assert leader.hear()["ended"]["exit_code"] == 1
    leader.say(id=2, do="stop", process="idle")
    assert leader.hear()["ended"] == {"process": "idle", "signal": 15, "ended_by_plg": True}


def test_what_is_forgotten_is_not_answered(leader: Leader) -> None:
    leader.say(id=1, do="await-end", process="up")
    leader.say(id=1, do="forget")
    leader.say(id=2, do="flush")
    assert leader.hear() == {"id": 2} and leader.flushed == 1
    end(leader.troupe["up"], exit_code=0)
    leader.say(id=3, do="await-end", process="up")
    assert leader.hear()["id"] == 3


def test_questions_of_a_kind_of_run_are_answered_once_there_is_an_answer(leader: Leader) -> None:
    values: list[object] = []
    leader.questions["how-far"] = lambda: values.pop() if values else None
    leader.say(id=1, do="how-far")
    leader.say(id=2, do="flush")
    assert leader.hear()["id"] == 2
    values.append({0: (1, 2)})
    assert unpack(leader.hear()["value"]) == {0: (1, 2)}


def test_signals_reach_who_runs_and_nobody_else(leader: Leader) -> None:
    leader.say(id=1, do="signal", process="up", number=1)
    leader.say(id=2, do="start", process="up")
    leader.say(id=3, do="signal", process="up", number=10)
    assert [leader.hear()["id"] for _ in range(3)] == [1, 2, 3]
    assert cast(Sandboxed, leader.troupe["up"].sandboxed).signals == [10]


def test_requests_come_in_any_pieces(leader: Leader) -> None:
    for octet in b'{"id": 1, "do": "flush"}\n{"id": 2, "do": "flush"}\n':
        leader.channel.sendall(bytes([octet]))
        leader.run_until(lambda: True)
    assert [leader.hear()["id"], leader.hear()["id"]] == [1, 2]


def test_a_leader_that_does_not_read_holds_nobody_up(leader: Leader) -> None:
    leader.questions["much"] = lambda: bytes(3_000_000)
    leader.say(id=1, do="much")
    leader.say(id=2, do="flush")
    leader.run_until(lambda: leader.flushed)
    assert len(unpack(leader.hear()["value"])) == 3_000_000
    assert leader.hear() == {"id": 2}


def test_the_end_is_asked_for_or_comes_with_the_socket(leader: Leader) -> None:
    leader.say(do="end")
    leader.run_until(lambda: leader.ends)
    assert leader.ends == [LEADER_ENDS]
    leader.channel.shutdown(socket.SHUT_WR)
    leader.run_until(lambda: len(leader.ends) == 2)
    assert leader.ends == [LEADER_ENDS, LEADER_LEFT]


def test_a_leaders_death_ends_the_run_though_a_fork_holds_its_socket() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    leader = Leader(process.pid, "up")
    process.send_signal(signal.SIGKILL)
    leader.run_until(lambda: leader.ends)
    process.wait()
    assert leader.ends == [LEADER_LEFT]
    leader.close()


def test_at_the_end_whoever_waits_is_answered_before_the_last_word(leader: Leader) -> None:
    leader.say(id=1, do="await-end", process="up")
    leader.run_until(lambda: leader.control._waiting)
    end(leader.troupe["up"], signal=9)
    leader.control.answer_all()
    leader.control.tell({"event": "over"})
    assert leader.hear()["ended"]["signal"] == 9
    assert leader.hear() == {"event": "over"}


def test_the_last_word_to_nobody_is_no_error(leader: Leader) -> None:
    leader.channel.close()
    leader.control.tell({"event": "over"})
