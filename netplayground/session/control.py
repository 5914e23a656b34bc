"""A run that a program leads which has started plg as its child: over a socket, a line of JSON each way.

    standing ── start, await, stop … ── ending ── over

- Standing: all namespaces are there, `stands` is said. Where the leader has a *seat* (a process of the run
  whose part it plays itself), the seat starts at once and anybody else when the leader says so; where it has
  none the run goes as any other does.
- A request has a number, and so has its answer, which may come late: `await-…` and `stop` are answered when
  what they ask for is the case, or cannot be any more. Any number of them may wait.
- Ending: the seat's end ends the run (it is what `--until` names), `end` does so at once. So does the end of
  the socket, and the leader's death even where a fork of it still holds the socket (pidfd_open(2)): nothing
  of a run outlives who led it.
- Over: the loop has stopped, `tell` says the rest, and plg exits.

    ← {"id": 1, "do": "start", "process": "db"}
    ← {"id": 2, "do": "await-listening", "process": "db", "port": 6379}
    ← {"id": 3, "do": "await-end", "process": "db"}        {"id": 4, "do": "stop", "process": "db"}
    ← {"id": 5, "do": "signal", "process": "db", "number": 1}
    ← {"id": 6, "do": "flush"}      what was said so far is in the dump
    ← {"id": 9, "do": "divergences"}    or another question that this kind of run answers, with a value
    ← {"id": 7, "do": "acts", "pid": 4711}, {"id": 8, "do": "rests", "pid": 4711}
    ← {"do": "forget", "id": 2}     {"do": "end"}
    → {"event": "stands", …}        {"id": 2, "state": {…}}        {"id": 1, "error": "cannot start …"}
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from select import EPOLLIN, EPOLLOUT
from typing import Final

from netplayground.replay.waiting import Activity
from netplayground.session.activity import look_at
from netplayground.session.outcome import emit_ending
from netplayground.session.parcel import pack
from netplayground.session.processes import Processes, RunningProcess
from netplayground.session.sinks import Sinks
from netplayground.traffic.loop import Loop

LEADER_LEFT: Final = "the program that led the run is gone"
LEADER_ENDS: Final = "the program that led the run ended it"

_LARGEST = 65536
_POLL_S = 0.005

Questions = Mapping[str, Callable[[], object]]
"""Each gives its answer; None while there is none yet."""

Ready = Callable[[], Mapping[str, object] | None]
"""Gives the answer once there is one."""


class Control:
    """The leader's requests, carried out in the run's loop."""

    def __init__(
        self,
        channel: socket.socket,
        leader: int,
        sinks: Sinks,
        seat: str | None = None,
        seat_channel: int = -1,
    ) -> None:
        """`leader`: its pid, known to be the parent's; `seat_channel`: what the seat's agent is born with."""
        self._channel = channel
        self._leader = leader
        self.sinks = sinks
        self.seat = seat
        self._seat_channel = seat_channel
        self._pidfd = os.pidfd_open(leader)
        self._acting: set[int] = set()
        self._heard = b""
        self._unsent = bytearray()
        self._waiting: dict[int, Ready] = {}
        channel.setblocking(False)

    @property
    def leads(self) -> bool:
        """Whether processes start when the leader says so."""
        return self.seat is not None

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self._pidfd)
        self._channel.close()

    def attend(
        self,
        loop: Loop,
        addresses: Mapping[str, Sequence[str]],
        processes: Processes,
        flush: Callable[[], None],
        end: Callable[[str], None],
        questions: Questions,
    ) -> None:
        """Serve from now on. `addresses`: of all processes of the run, by position; `end(why)` ends it, a
        second time it does nothing."""
        self._loop, self._processes, self._flush, self._end = loop, processes, flush, end
        self._questions = questions
        self._named = {process.planned.name: process for process in processes.all}
        self.sinks.attend(loop)
        if self._seat_channel >= 0:
            os.close(self._seat_channel)  # the leader is to see its end when the agent is gone
        loop.add(self._channel.fileno(), EPOLLIN, self._on_channel)
        loop.add(self._pidfd, EPOLLIN, self._on_leader_gone)
        if self.seat is not None:
            processes.hold()
            seat = self.seat
            loop.again(lambda: processes.let_start(seat))
        self._say({"event": "stands", "addresses": addresses})

    def answer_all(self) -> None:
        """The run is over: answer whoever still waits, for all processes have ended."""
        for identity, ready in self._waiting.items():
            answer = ready()
            if answer is not None:
                self._unsent += _line({"id": identity, **answer})

    def tell(self, last: Mapping[str, object]) -> None:
        """Say the last word, after the run or in place of it; to nobody where the leader is gone."""
        self._channel.setblocking(True)
        with contextlib.suppress(ConnectionError):
            self._channel.sendall(bytes(self._unsent) + _line(last))

    def activity(self, process: RunningProcess) -> Activity:
        """What the seat's threads do: its commands, the leader's threads, the children that it has named."""
        return look_at(process.sandboxed.pid, self._leader, self._acting)

    # What comes.

    def _on_leader_gone(self, _events: int) -> None:
        self._loop.remove(self._pidfd)
        self._end(LEADER_LEFT)

    def _on_channel(self, events: int) -> None:
        if events & EPOLLOUT:
            self._send()
        try:
            data = self._channel.recv(_LARGEST)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._loop.remove(self._channel.fileno())
            self._waiting.clear()
            self._end(LEADER_LEFT)
            return
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _obey(self, request: Mapping[str, object]) -> None:
        identity, what = request.get("id"), request["do"]
        if what == "end":
            self._end(LEADER_ENDS)
            return
        assert isinstance(identity, int), request
        if what == "forget":
            self._waiting.pop(identity, None)
        elif what in ("acts", "rests"):
            pid = request["pid"]
            assert isinstance(pid, int)
            (self._acting.add if what == "acts" else self._acting.discard)(pid)
            self._answer(identity, {})
        elif what == "flush":
            self._flush()
            self._answer(identity, {})
        elif what in self._questions:
            self._await(identity, lambda: self._value(str(what)))
        else:
            self._obey_about(identity, str(what), request)

    def _obey_about(self, identity: int, what: str, request: Mapping[str, object]) -> None:
        name = request["process"]
        process = self._named.get(str(name))
        if process is None:
            self._answer(identity, {"canned": True})
            return
        port = request.get("port")
        match what:
            case "start" if process.started or process.is_gone:
                self._answer(
                    identity, {"error": f"cannot start {name}: it has been started or stopped before"}
                )
            case "start":
                self._processes.let_start(str(name))
                self._answer(identity, {})
            case "await-listening":
                self._await(identity, lambda: self._listening(process, port))
            case "await-end":
                self._await(identity, lambda: self._ended(process, process.has_ended))
            case "stop":
                self._processes.finish_one(process)
                self._await(identity, lambda: self._ended(process, process.is_gone))
            case "signal":
                number = request["number"]
                assert isinstance(number, int)
                if process.started and not process.has_ended:
                    process.sandboxed.signal(number)
                self._answer(identity, {})
            case _:
                raise AssertionError(request)

    def _value(self, question: str) -> Mapping[str, object] | None:
        value = self._questions[question]()
        return None if value is None else {"value": pack(value)}

    # What is waited for.

    def _await(self, identity: int, ready: Ready) -> None:
        is_first = not self._waiting
        self._waiting[identity] = ready
        if is_first:
            self._look()

    def _look(self) -> None:
        for identity, ready in list(self._waiting.items()):
            answer = ready()
            if answer is not None:
                del self._waiting[identity]
                self._answer(identity, answer)
        if self._waiting:
            self._loop.call_after(_POLL_S, self._look)

    def _listening(self, process: RunningProcess, port: object) -> Mapping[str, object] | None:
        if process.has_ended or process.is_gone:
            return self._ended(process, True)
        ports = sorted({each for _, each in process.sandboxed.listening()}) if process.started else []
        return {"ports": ports} if (ports if port is None else port in ports) else None

    def _ended(self, process: RunningProcess, is_so: bool) -> Mapping[str, object] | None:
        if not is_so:
            return None
        outcome = process.outcome
        return {"ended": emit_ending(outcome) if process.has_ended else {}, "command": outcome.command}

    # What goes.

    def _answer(self, identity: int, answer: Mapping[str, object]) -> None:
        self._say({"id": identity, **answer})

    def _say(self, value: Mapping[str, object]) -> None:
        was_empty = not self._unsent
        self._unsent += _line(value)
        if was_empty:
            self._send()

    def _send(self) -> None:
        """Send what the leader has room for; one that does not read holds nobody up."""
        try:
            del self._unsent[: self._channel.send(self._unsent)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._unsent.clear()  # the end of the channel is heard in its turn
        mask = EPOLLIN | EPOLLOUT if self._unsent else EPOLLIN
        with contextlib.suppress(FileNotFoundError):
            self._loop.change(self._channel.fileno(), mask, self._on_channel)


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"
