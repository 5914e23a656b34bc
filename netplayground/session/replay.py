"""A replay from start to end.

    the tape is read ── the ground stands ── the player plays ── the verdict

The player decides (netplayground.replay), lines and their answerer carry it out (netplayground.traffic). Live
processes start when the tape says so; the run ends as any run does, or when the player says so.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.recording import Recording
from netplayground.dump.soundness import Soundness
from netplayground.errors import DumpError
from netplayground.replay.exchange import Delivery
from netplayground.replay.flows import LINK_LOCAL, Letter
from netplayground.replay.masks import address_masks, parse_masks
from netplayground.replay.options import OnDivergence, ReplayOptions, Strictness
from netplayground.replay.part import Part
from netplayground.replay.player import Player
from netplayground.replay.tape import NOBODY, Tape, load_tape
from netplayground.replay.verdict import Verdict
from netplayground.replay.waiting import Activity
from netplayground.sandbox.command import Streams
from netplayground.session.activity import look_at
from netplayground.session.control import Control, Questions
from netplayground.session.families import FOUR, Families
from netplayground.session.ground import Ground, stand
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic
from netplayground.session.plan import Plan, PlannedProcess
from netplayground.session.ports import Ports
from netplayground.session.post import Post
from netplayground.session.processes import RunningProcess
from netplayground.session.replay_plan import changed_addresses
from netplayground.session.run import Narrate, Run, own_addresses
from netplayground.session.seat import Seat, line_of
from netplayground.session.status import Status, TapeStatus, Watch
from netplayground.traffic.answer import Answer, Answerer
from netplayground.traffic.forwarder import Forwarder
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Timer


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay, over: how its processes ended, and what was played."""

    run: RunSummary
    verdict: Verdict


def replay(
    plan: Plan,
    options: ReplayOptions,
    recording: Recording,
    narrate: Narrate,
    streams: Mapping[str, Streams] | None = None,
    control: Control | None = None,
    watch: Watch | None = None,
) -> ReplaySummary:
    """Run the plan's live processes and play the recording to them; PlaygroundError when that cannot be done.
    `streams`: by name, who does not have plg's own stdout and stderr. `control`: by way of which the program
    that started plg leads the run. `watch` hears a few times a second how it goes.

    The calling process moves into a network namespace of its own for good, and must have one thread.
    """
    tape = load_tape(recording)
    _check_playable(plan, tape)
    with stand(plan, streams) as ground, ExitStack() as stack:
        replaying = Replaying(plan, options, recording, tape, narrate, ground, control)
        stack.callback(replaying.close)
        if watch is not None:
            replaying.be_watched(watch)
        return replaying.run()


def _check_playable(plan: Plan, tape: Tape) -> None:
    """Raise DumpError for a capture of which nothing that the live processes said or heard is whole: to play
    nothing would look like success."""
    numbers = {number for number, process in enumerate(plan.processes) if process.is_live}
    live = {plan.processes[number].name for number in numbers}
    lost = [
        each
        for each in tape.left_out
        if live & {each.connection.client_process, each.connection.server_process}
    ]
    said = [record.processes for record in tape.records if lost and sum(record.bytes)]
    sent = [flow.processes for flow in tape.flows.all if lost]
    if not lost or any(numbers.intersection(processes) for processes in (*said, *sent)):
        return
    _, why = max((each.bytes, each.why) for each in lost)
    whose = ", ".join(sorted(live))
    raise DumpError(
        f"cannot replay the capture: of the {len(lost):,} connections of {whose} none is whole: {why}"
    )


class Replaying(Run):
    """A run that is played to. Processes are known by their number on the tape."""

    def __init__(
        self,
        plan: Plan,
        options: ReplayOptions,
        recording: Recording,
        tape: Tape,
        narrate: Narrate,
        ground: Ground,
        control: Control | None,
    ) -> None:
        super().__init__(plan, narrate, ground, recording.fileno(), _nothing, control)
        self._recording = recording
        self._soundness = Soundness(recording)
        tape.read = self._read
        self._options = options
        self._tape = tape
        self._numbers = {process.name: number for number, process in enumerate(plan.processes)}
        self._running = {self._numbers[process.planned.name]: process for process in self._processes.all}
        self._process_at = _by_address(plan, recording, ground.proxy.has_ipv6)
        self._ports = {
            number: Ports(self._known_ports(number), process.sandboxed.listening, time.monotonic_ns)
            for number, process in self._running.items()
        }
        self._families = {
            number: Families(process.sandboxed.listening, process.sandboxed.receiving)
            for number, process in self._running.items()
        }
        masks = parse_masks(options.ignore) + address_masks(changed_addresses(recording.processes, plan))
        live = [number in self._running for number in range(len(plan.processes))]
        self._player = Player(tape, live, options, masks, self)
        self._heard = 0
        self._timer: Timer | None = None
        self._timer_at = 0
        self._is_coming = False
        self._processes.on_started = self._on_started
        self._processes.on_gone = self._on_gone
        answerer = Answerer(
            self._workspace, self._proxy_link, ground.proxy.tun_index, self, self._room, narrate
        )
        self._answerer = answerer
        links = {self._numbers[link.name]: link for link in self._links}
        subnet = next(map(ip_network, recording.run.subnets), None)
        self._post = Post(
            plan.processes,
            self._process_at,
            links,
            plan.subnet,
            subnet if isinstance(subnet, IPv4Network) else None,
            self._on_letter,
        )
        absent = [
            Link(process.name, -1, own_addresses(process, ground.proxy.has_ipv6), process.position)
            for process in plan.processes
            if not process.is_live
        ]
        self._route(answerer, self._post if options.udp is not Strictness.OFF else Forwarder(), absent)

    def run(self) -> ReplaySummary:
        """Go from the start of the processes to the verdict."""
        self._processes.hold()
        self._loop.again(self._begin)
        duration_s = self._go()
        verdict = self._player.finish(time.monotonic_ns())
        return ReplaySummary(
            RunSummary(
                processes=self._all_outcomes(),
                traffic=Traffic(drops=self._count_drops()),
                dump_path=self._plan.dump_path,
                dump_bytes=self._recording.size,
                duration_s=duration_s,
                trouble=self._trouble,
                timed_out_after_s=self._timed_out_after_s,
                has_diverged=verdict.has_diverged and self._options.on_divergence is not OnDivergence.WARN,
                until_process=self._until_process,
                interrupted_by=self._interrupted_by,
            ),
            verdict,
        )

    def _all_outcomes(self) -> tuple[ProcessOutcome, ...]:
        live = {outcome.name: outcome for outcome in self._processes.outcomes}
        return tuple(
            live.get(process.name, ProcessOutcome(process.name, process.position, process.command))
            for process in self._plan.processes
        )

    def _known_ports(self, server: int) -> frozenset[int]:
        low, high = self._options.ephemeral
        return frozenset(
            record.port
            for record in self._tape.records
            if record.processes[SERVER] == server and not low <= record.port <= high
        )

    def _read(self, offset: int, length: int) -> bytes:
        """What was recorded, or DamagedDumpError."""
        self._soundness.assure(offset, length)
        return self._recording.read(offset, length)

    def _tell(self, kind: str, **fields: object) -> None:
        """A replay is not recorded."""

    def _said(self) -> int:
        return self._heard

    def _questions(self) -> Questions:
        return {
            "divergences": lambda: self._player.found[:_MOST_DIVERGENCES],
            "said": lambda: self._player.said_by_now(self._leader),
            "caught-up": lambda: self._player.have_caught_up(self._leader) or None,
        }

    @property
    def _leader(self) -> int:
        """The seat's number."""
        assert self._control is not None and self._control.seat is not None
        return self._numbers[self._control.seat]

    def _status(self) -> Status:
        player = self._player
        position, length = player.position(time.monotonic_ns())
        return Status(
            seconds=time.monotonic() - self._began,
            processes=self._process_states(),
            open_connections=self._interceptor.open_count,
            dropped=self._dropped(),
            tape=TapeStatus(position, length, player.divergences),
        )

    # What happens, for the player.

    def _begin(self) -> None:
        self._player.start(time.monotonic_ns())
        self._came()

    def _on_started(self, process: RunningProcess) -> None:
        self._player.on_process_started(self._numbers[process.planned.name], time.monotonic_ns())
        self._came()

    def _on_process_ended(self, process: RunningProcess) -> None:
        super()._on_process_ended(process)
        self._player.on_process_exited(self._numbers[process.planned.name], time.monotonic_ns())
        self._came()

    def _on_until(self, name: str) -> None:
        """The others have still to hear what they had heard by then; the player sees that this comes to an
        end."""
        if self._player.is_at_end and not self._is_ending:
            super()._on_until(name)

    def _on_gone(self, process: RunningProcess) -> None:
        self._player.on_process_gone(self._numbers[process.planned.name], time.monotonic_ns())
        self._came()

    def answer(self, client: Link, server: bytes, port: int) -> tuple[Answer, Seat | None]:
        """What a live client's connect to a packed address meets."""
        number = self._process_at.get(server, NOBODY)
        told, part = self._player.on_syn(self._numbers[client.name], number, port, time.monotonic_ns())
        self._came()
        return Answer[told.name], None if part is None else self._seat(part)

    def _seat(self, part: Part) -> Seat:
        if self._plan.verbosity:
            self._narrate(
                f"{part.course.name} plays the {_SIDES[part.side]} of connection {part.record.identity}"
            )
        return Seat(self._player, part, self._came, self._stands if part.side == SERVER else None)

    def _stands(self, part: Part) -> None:
        """A live server was reached."""
        self._ports[part.course.process].reached(part.record.port)

    def _came(self) -> None:
        """The player was told something."""
        self._heard += 1
        self._set_timer_soon()

    def _set_timer_soon(self) -> None:
        """The player wants to be called at another time, perhaps."""
        if not self._is_coming:
            self._is_coming = True
            self._loop.again(self._set_timer)

    def _set_timer(self) -> None:
        """A timer that is too early does no harm; so most times there is nothing to set."""
        self._is_coming = False
        if self._until_process is not None:
            self._on_until(self._until_process)
        deadline = self._player.deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._player.on_timer(time.monotonic_ns())
        self._set_timer_soon()

    # What the player asks for.

    def start(self, process: int) -> None:
        """A live process's time has come, if nobody else says so."""
        if self._control is not None and self._control.leads:
            return
        name = self._plan.processes[process].name
        self._loop.again(lambda: self._processes.let_start(name))

    def connect(self, part: Part) -> None:
        """Connect to a live server in place of its client."""
        seat = part.line if isinstance(part.line, Seat) else self._seat(part)
        record = part.record
        port = self._ports[part.course.process].find(
            record.port, self._player.assignment.is_dynamic(record.port), seat.failures
        )
        if port is None:
            self._loop.again(seat.failed)
            return
        ends = self._recording.connections[record.identity]
        client, server = ends.client.address, ends.server.address
        version = self._families[part.course.process].to_connect(port, server.version, seat.failures)
        if NOBODY not in record.processes and version != server.version:
            client, server = (self._address_in(version, process) for process in record.processes)
        else:
            client = self._address(record.processes[CLIENT], client)
            server = self._address(record.processes[SERVER], server)
        self._answerer.connect(client.packed, ends.client.port, server.packed, port, seat)

    def _address(self, process: int, recorded: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        """The address that a process has now in place of a recorded one."""
        if process == NOBODY:
            return recorded
        planned = self._plan.processes[process]
        if recorded.version == 4:
            return planned.address4
        return _link_local(planned) if recorded.is_link_local else planned.address6

    def _address_in(self, version: int, process: int) -> IPv4Address | IPv6Address:
        planned = self._plan.processes[process]
        return planned.address4 if version == FOUR else planned.address6

    def _on_letter(self, letter: Letter, version: int) -> None:
        self._player.on_datagram(letter, version, time.monotonic_ns())
        self._came()

    def deliver(self, process: int, delivery: Delivery, awaits_listener: bool) -> bool:
        """Hand a live process a datagram, once it listens."""
        letter, recorded = delivery.letter, delivery.version & ~LINK_LOCAL
        families = self._families[process]
        if letter.group:
            if awaits_listener and families.to_deliver(letter.port, recorded) is None:
                return False
            version: int | None = recorded
        elif awaits_listener:
            version = families.to_deliver(letter.port, recorded)
        else:
            version = families.of_datagrams(letter.port, recorded)
        if version is None:
            return False
        if version != recorded:
            delivery = replace(delivery, version=version)
        self._post.deliver(process, delivery)
        return True

    def give(self, part: Part, offset: int, length: int) -> bool:
        """Hand a live process bytes of the dump."""
        self._soundness.assure(offset, length)
        return line_of(part).give(offset, length)

    def fin(self, part: Part) -> None:
        """Close the direction toward a live process."""
        line_of(part).fin()

    def reset(self, part: Part) -> None:
        """Abort the connection with a live process."""
        line_of(part).reset()

    def signal(self, process: int) -> None:
        """End a live process as plg did in the recording."""
        self._processes.finish_one(self._running[process])

    def look_at(self, process: int) -> Activity:
        """What a live process's threads do."""
        running = self._running[process]
        if self._control is not None and self._control.seat == running.planned.name:
            return self._control.activity(running)
        return look_at(running.sandboxed.pid)

    def end(self, why: str) -> None:
        """End the run."""
        self._loop.again(lambda: self._end_once(why))


_SIDES = ("client", "server")
_MOST_DIVERGENCES = 20


def _by_address(plan: Plan, recording: Recording, has_ipv6: bool) -> Mapping[bytes, int]:
    """The number of the process that has a packed address now, or had it in the recording: what processes
    hear may name it."""
    found: dict[bytes, int] = {}
    for number, process in enumerate(recording.processes):
        for address in process.addresses:
            found[address.packed] = number
    for number, planned in enumerate(plan.processes):
        found[planned.address4.packed] = number
        if has_ipv6:
            found[planned.address6.packed] = number
            found[_link_local(planned).packed] = number
    return found


def _link_local(process: PlannedProcess) -> IPv6Address:
    return IPv6Address(f"fe80::{process.position:x}")


def _nothing() -> None:
    """Nothing waits to be written before the loop sleeps."""
