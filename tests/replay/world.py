"""A world for players without sockets: tapes written by hand, live processes that play themselves, a clock
that jumps from one thing that happens to the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count

from netplayground.dump.model import CLIENT, SERVER, Connection, Ending, Endpoint, Process
from netplayground.replay.exchange import Delivery
from netplayground.replay.flows import UDP, Letter
from netplayground.replay.masks import parse_masks
from netplayground.replay.options import ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.player import Player
from netplayground.replay.stage import Answer
from netplayground.replay.tape import CHUNK, ESTABLISHED, FIN, NOBODY, RST, SYN, Outcome, Record, Tape
from netplayground.replay.verdict import Verdict
from netplayground.replay.waiting import Activity

MS = 1_000_000
SECOND = 1000 * MS


class TapeWriter:
    """Writes a tape event by event; times in milliseconds."""

    def __init__(self, *names: str) -> None:
        self.payload = bytearray()
        processes = [
            Process(name, position, (IPv4Address(f"10.0.0.{position}"),), "command")
            for position, name in enumerate(names, 1)
        ]
        self.tape = Tape(processes, lambda offset, length: bytes(self.payload[offset : offset + length]))
        self.time = 0.0
        for life in self.tape.lives:
            life.started_ns = 0
            life.ended_ns = 0

    def after(self, milliseconds: float) -> TapeWriter:
        self.time += milliseconds
        return self

    def connect(self, client: int, server: int, port: int = 80, outcome: Outcome = Outcome.ACCEPTED) -> int:
        number = len(self.tape.records)
        ends = (
            Endpoint(IPv4Address(f"10.0.0.{client + 1}"), 40000 + number),
            Endpoint(IPv4Address(f"10.0.0.{server + 1}"), port),
        )
        summary = Connection(number, *ends, None, None, 0, None, None, (0, 0), (0, 0), Ending.OPEN, 0, 0)
        record = Record(number, summary, client, server)
        record.outcome = outcome
        self.tape.records.append(record)
        self._add(number, SYN)
        if outcome is Outcome.ACCEPTED:
            self._add(number, ESTABLISHED)
        return number

    def datagram(self, sender: int, receiver: int, ports: tuple[int, int], data: bytes) -> TapeWriter:
        offset = len(self.payload)
        self.payload += data
        letter = Letter(UDP, sender, receiver, b"", *ports, data)
        self.tape.add_datagram(letter, 4, self._now(), offset, len(data))
        return self

    def say(self, number: int, side: int, data: bytes) -> TapeWriter:
        offset = len(self.payload)
        self.payload += data
        self.tape.add(number, CHUNK | side, self._now(), offset, len(data))
        return self

    def fin(self, number: int, *sides: int) -> TapeWriter:
        for side in sides:
            self._add(number, FIN | side)
        return self

    def rst(self, number: int, side: int) -> TapeWriter:
        return self._add(number, RST | side)

    def end(self, *ended_by_plg: int) -> Tape:
        """The recording is over; these processes were ended by plg."""
        for process, life in enumerate(self.tape.lives):
            life.was_ended_by_plg = process in ended_by_plg
            life.ended_ns = None if life.was_ended_by_plg else self._now()
        if ended_by_plg:
            self.tape.mark_ns = self._now()
        return self.tape

    def _add(self, number: int, code: int) -> TapeWriter:
        self.tape.add(number, code, self._now())
        return self

    def _now(self) -> int:
        return int(self.time * MS)


class Line:
    """A live process's end of one connection, as the process sees it."""

    def __init__(self, client: int, server: int, port: int) -> None:
        self.client, self.server, self.port = client, server, port
        self.part: Part | None = None
        self.heard = bytearray()
        self.hears_fin = self.hears_rst = self.is_refused = self.is_open = False
        self.said_fin = False
        self.upward = self.downward = 0  # when what is under way, either way, will have come


@dataclass
class World:
    """Runs one replay to its end. A live process is a generator function that is handed its `Actor`. `delay`
    gives how long something is under way, in ns; on one connection nothing overtakes."""

    tape: Tape
    scripts: dict[int, Callable[[Actor], Sequence[object] | object]]
    options: ReplayOptions = field(default_factory=ReplayOptions)
    read: Callable[[int, int], bytes] | None = None
    activity: Callable[[int, int], Activity] = lambda process, now: Activity.IDLE
    delay: Callable[[], int] = lambda: 0
    on_signal: Callable[[World], None] = lambda world: None

    def __post_init__(self) -> None:
        self.now = 1_000 * SECOND
        self.began = self.now
        live = [process in self.scripts for process in range(len(self.tape.lives))]
        self.player = Player(self.tape, live, self.options, parse_masks(self.options.ignore), self)
        self.actors: dict[int, Actor] = {}
        self.given: list[tuple[int, int, bytes | str]] = []  # when, to whom, what
        self.signalled: list[int] = []
        self.ended: str | None = None
        self.looks = 0  # calls of on_timer
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count()

    # What the player asks for.

    def start(self, process: int) -> None:
        def begin() -> None:
            actor = self.actors[process] = Actor(self, process)
            self.player.on_process_started(process, self.now)
            actor.resume()

        self.later(0, begin)

    def connect(self, part: Part) -> None:
        process = part.course.process
        actor = self.actors.get(process)
        if actor is None or not actor.accepts(part.record.port):
            self.later(0, lambda: self.player.on_connect_failed(part, self.now))
            return
        line = Line(part.record.processes[CLIENT], process, part.record.port)
        line.part, line.is_open = part, True
        part.line = line

        def stands() -> None:
            self.player.on_connected(part, self.now)
            if actor.has_exited:
                self.player.on_reset(part, self.now)
                return
            actor.accepted.append(line)
            actor.lines.append(line)
            actor.resume()

        # A queue of connections to be accepted is in the order in which they came.
        line.downward = actor.upward = max(actor.upward, self.now + self.delay())
        self.later(line.downward - self.now, stands)

    def give(self, part: Part, offset: int, length: int) -> bool:
        data = self.tape.read(offset, length)
        self._deliver(part, lambda line: line.heard.extend(data), data)
        return False

    def fin(self, part: Part) -> None:
        self._deliver(part, lambda line: setattr(line, "hears_fin", True), "fin")

    def reset(self, part: Part) -> None:
        self._deliver(part, lambda line: setattr(line, "hears_rst", True), "rst")

    def deliver(self, process: int, delivery: Delivery, awaits_listener: bool) -> bool:
        actor, letter = self.actors[process], delivery.letter
        if awaits_listener and letter.port not in actor.takes_datagrams_on:
            return False
        self.given.append((self.now - self.began, process, letter.payload))

        def arrive() -> None:
            actor.post.append(letter)
            actor.resume()

        self.later(self.delay(), arrive)
        return True

    def signal(self, process: int) -> None:
        self.signalled.append(process)
        self.on_signal(self)
        self.later(0, self.actors[process].exit)

    def look_at(self, process: int) -> Activity:
        return self.activity(process, self.now - self.began)

    def end(self, why: str) -> None:
        self.ended = why

    def _deliver(self, part: Part, change: Callable[[Line], None], what: bytes | str) -> None:
        line = part.line
        assert isinstance(line, Line)
        self.given.append((self.now - self.began, part.course.process, what))

        def arrive() -> None:
            if line.is_open:
                change(line)
                self.look_whether_closed(line)
                self.actors[part.course.process].resume()

        line.downward = max(line.downward, self.now + self.delay())
        self.later(line.downward - self.now, arrive)

    def tell(self, line: Line, action: Callable[[], None]) -> None:
        """What a process does reaches the player."""
        line.upward = max(line.upward, self.now + self.delay())
        if line.upward == self.now:
            action()
        else:
            self.later(line.upward - self.now, action)

    def look_whether_closed(self, line: Line) -> None:
        if line.hears_rst:
            line.is_open = False
        elif line.said_fin and line.hears_fin and line.is_open and line.part is not None:
            line.is_open = False
            part = line.part
            self.tell(line, lambda: self.later(0, lambda: self.player.on_closed(part, self.now)))

    # Time.

    def later(self, after_ns: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + after_ns, next(self._number), action))

    def run(self, most_s: float = 3600) -> Verdict:
        """Play until nobody is left, the player ends it, or nothing can happen any more."""
        self.player.start(self.now)
        while self.ended is None:
            deadline = self.player.deadline()
            if not self._due and deadline is None:
                break
            if self._due and (deadline is None or self._due[0][0] <= deadline):
                at, _, action = heapq.heappop(self._due)
                self.now = max(self.now, at)
                action()
            else:
                assert deadline is not None
                self.now = max(self.now, deadline)
                self.looks += 1
                self.player.on_timer(self.now)
            assert self.now - self.began < most_s * SECOND, "the replay hangs"
        return self.player.finish(self.now)


class Actor:
    """A live process: its script runs until it waits for something, as a generator that yields conditions."""

    def __init__(self, world: World, process: int) -> None:
        self.world = world
        self.process = process
        self.accepted: list[Line] = []
        self.lines: list[Line] = []
        self.upward = 0  # when the last connect to it will have come
        self.has_exited = False
        self.ports: set[int] | None = None  # where it listens; None: everywhere
        self.takes_datagrams_on: set[int] = set()
        self.post: list[Letter] = []  # datagrams that it has heard
        self._tasks: list[list[object]] = []
        self.go(world.scripts[process](self))

    def accepts(self, port: int) -> bool:
        return not self.has_exited and (self.ports is None or port in self.ports)

    def go(self, script: object) -> None:
        """Run one more thread of the process."""
        self._tasks.append([script, None])

    def resume(self) -> None:
        """Let every thread go on that can."""
        if self.has_exited:
            return
        for task in self._tasks:
            while task[0] is not None and (task[1] is None or task[1]()):  # type: ignore[operator]
                try:
                    task[1] = next(task[0])  # type: ignore[call-overload]
                except StopIteration:
                    task[0] = None
        if all(task[0] is None for task in self._tasks):
            self.exit()

    def exit(self) -> None:
        if self.has_exited:
            return
        self.has_exited = True
        self.world.player.on_process_exited(self.process, self.world.now)
        for line in self.lines:
            self.fin(line)  # so does its kernel
        self.world.player.on_process_gone(self.process, self.world.now)

    # What a script does.

    def sleep(self, milliseconds: float) -> Callable[[], bool]:
        until = self.world.now + int(milliseconds * MS)
        self.world.later(int(milliseconds * MS), self.resume)
        return lambda: self.world.now >= until

    def connect(self, server: int, port: int = 80) -> Line:
        line = Line(self.process, server, port)
        answer, part = self.world.player.on_syn(self.process, server, port, self.world.now)
        if answer is Answer.ACCEPT:
            assert part is not None
            line.part, line.is_open = part, True
            part.line = line
            self.lines.append(line)
            self.world.player.on_connected(part, self.world.now)
        elif answer is not Answer.SILENCE:
            line.is_refused = True
        return line

    def accept(self) -> Callable[[], bool]:
        return lambda: bool(self.accepted)

    def hear(self, line: Line, length: int) -> Callable[[], bool]:
        return lambda: len(line.heard) >= length or line.hears_fin or line.hears_rst

    def hear_fin(self, line: Line) -> Callable[[], bool]:
        return lambda: line.hears_fin or line.hears_rst

    def say(self, line: Line, data: bytes) -> None:
        part, player = line.part, self.world.player
        if line.is_open and part is not None and not line.said_fin:
            self.world.tell(line, lambda: player.on_bytes(part, memoryview(data), self.world.now))

    def send(self, receiver: int, ports: tuple[int, int], data: bytes) -> None:
        """Say a datagram."""
        self.world.player.on_datagram(
            Letter(UDP, self.process, receiver, b"", *ports, data), 4, self.world.now
        )

    def hear_datagrams(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.post) >= count

    def fin(self, line: Line) -> None:
        part, player = line.part, self.world.player
        if line.is_open and part is not None and not line.said_fin:
            line.said_fin = True
            self.world.tell(line, lambda: player.on_fin(part, self.world.now))
            self.world.look_whether_closed(line)

    def rst(self, line: Line) -> None:
        part, player = line.part, self.world.player
        if line.is_open and part is not None:
            line.is_open = False
            self.world.tell(line, lambda: player.on_reset(part, self.world.now))


__all__ = ["CLIENT", "MS", "NOBODY", "SECOND", "SERVER", "Actor", "Line", "TapeWriter", "World"]
