"""The processes of a run in time: who may start, who has ended and how.

    waiting ── start ── running ── its command ends ── ending (the rest of it gets the grace) ── gone
       └───────────────── the run ends first ────────────────────────────────────────────────── gone

The dump has each step as a fact, with its time. That a process has ended is told after what it said last: its
word comes by another way than its packets, and may be the faster one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from select import EPOLLIN, POLLIN, poll

from netplayground.sandbox.process import CommandFailed, Gone, ProcessExited, SandboxedProcess
from netplayground.session.outcome import ENDED_FACT, ProcessOutcome, emit_ending
from netplayground.session.plan import Plan, PlannedProcess, ReadyRule
from netplayground.traffic.loop import Loop

_READY_POLL_S = 0.005
_QUIET_ROUNDS = 3  # packets are routed in one round of the loop, and read from their connection in the next
_MOST_ROUNDS = 100  # what it left running may go on for long


class RunningProcess:
    """One process of the run and what is known of it."""

    __slots__ = ("has_ended", "is_gone", "outcome", "planned", "rounds", "sandboxed", "started")

    def __init__(self, planned: PlannedProcess, sandboxed: SandboxedProcess) -> None:
        self.planned = planned
        self.sandboxed = sandboxed
        self.outcome = ProcessOutcome(planned.name, planned.position, planned.command)
        self.started = False
        self.has_ended = False
        self.is_gone = False
        self.rounds = (0, 0)  # since it has something to tell of itself: all, and the last quiet ones


def _nothing(_process: RunningProcess) -> None:
    """Whoever wants to hear of it, sets something else."""


class Processes:
    """Starts processes when their time has come; says when one has ended and when nothing is left of any."""

    def __init__(
        self,
        plan: Plan,
        sandboxed: Sequence[SandboxedProcess],
        loop: Loop,
        tell: Callable[..., None],
        on_ended: Callable[[RunningProcess], None],
        on_all_gone: Callable[[], None],
    ) -> None:
        """`tell(kind, **fields)` takes what no packet tells."""
        live = [process for process in plan.processes if process.is_live]
        self.all = [RunningProcess(*pair) for pair in zip(live, sandboxed, strict=True)]
        self._plan = plan
        self._loop = loop
        self._tell = tell
        self._on_ended = on_ended
        self.on_started: Callable[[RunningProcess], None] = _nothing
        self.on_gone: Callable[[RunningProcess], None] = _nothing
        self._on_all_gone = on_all_gone
        self._is_ending = False
        self._held: set[str] = set()
        self._ready: set[ReadyRule] = set()
        for process in self.all:
            loop.add(process.sandboxed.control, EPOLLIN, self._reader(process))

    @property
    def outcomes(self) -> tuple[ProcessOutcome, ...]:
        """How each has ended, as far as it has."""
        return tuple(process.outcome for process in self.all)

    @property
    def all_gone(self) -> bool:
        """Whether nothing is left of any."""
        return all(process.is_gone for process in self.all)

    def start(self) -> None:
        """Start whoever need not wait, and the others as soon as those that they wait for listen."""
        if self._is_ending:
            return
        waiting = [
            process for process in self.all if not (process.started or process.planned.name in self._held)
        ]
        awaited = {rule for process in waiting for rule in self._plan.awaited_by(process.planned)}
        for rule in awaited - self._ready:
            self._look_whether_ready(rule)
        for process in waiting:
            if self._ready.issuperset(self._plan.awaited_by(process.planned)):
                self._start(process)
        if any(not process.started for process in waiting):
            self._loop.call_after(_READY_POLL_S, self.start)

    def hold(self) -> None:
        """Let nobody start before `let_start`, ready or not."""
        self._held = {process.planned.name for process in self.all}

    def let_start(self, name: str) -> None:
        """This one may start, as soon as those that it waits for listen."""
        self._held.discard(name)
        self.start()

    def awaited(self, name: str) -> ReadyRule | None:
        """The rule by which somebody still waits for this process to listen."""
        for process in self.all:
            if not process.started:
                for rule in self._plan.awaited_by(process.planned):
                    if rule.name == name and rule not in self._ready:
                        return rule
        return None

    def awaited_by(self, process: RunningProcess) -> tuple[ReadyRule, ...]:
        """What must still be before this one may start."""
        return tuple(rule for rule in self._plan.awaited_by(process.planned) if rule not in self._ready)

    def finish(self) -> None:
        """End them all: the kill signal, the grace, SIGKILL; at once for those that never started."""
        self._is_ending = True
        for process in self.all:
            self.finish_one(process)

    def finish_one(self, process: RunningProcess) -> None:
        """End one of them."""
        if process.is_gone:
            return
        if not process.started:
            process.sandboxed.kill()
        elif not process.has_ended:
            process.outcome = replace(process.outcome, ended_by_plg=True)
            self._tell("process-signalled", process=process.planned.name, signal=self._plan.kill_signal)
            process.sandboxed.finish()

    def kill(self) -> None:
        """SIGKILL to whatever is left."""
        for process in self.all:
            process.sandboxed.kill()

    def _start(self, process: RunningProcess) -> None:
        process.started = True
        process.outcome = replace(process.outcome, started_ns=time.monotonic_ns())
        self._tell("process-started", process=process.planned.name)
        process.sandboxed.start()
        self.on_started(process)

    def _look_whether_ready(self, rule: ReadyRule) -> None:
        server = next(process for process in self.all if process.planned.name == rule.name)
        if server.started and not server.has_ended:
            ports = {port for _, port in server.sandboxed.listening()}
            if ports if rule.port is None else rule.port in ports:
                self._ready.add(rule)
                self._tell("process-ready", process=rule.name, ports=sorted(ports))

    def _reader(self, process: RunningProcess) -> Callable[[int], None]:
        device = poll()
        device.register(process.sandboxed.tun_fd, POLLIN)

        def read(_events: int) -> None:
            if not _is_heard_out(process, is_speaking=bool(device.poll(0))):
                return  # the loop calls again in its next round
            for message in process.sandboxed.read_messages():
                match message:
                    case ProcessExited(code, signal):
                        self._end(process, replace(process.outcome, exit_code=code, signal=signal))
                    case CommandFailed(number, _):
                        self._end(process, replace(process.outcome, run_errno=number))
                    case Gone():
                        self._mark_gone(process)

        return read

    def _end(self, process: RunningProcess, outcome: ProcessOutcome) -> None:
        process.has_ended = True
        process.outcome = replace(outcome, ended_ns=time.monotonic_ns())
        self._tell(ENDED_FACT, **emit_ending(process.outcome))
        self._on_ended(process)

    def _mark_gone(self, process: RunningProcess) -> None:
        process.is_gone = True
        self._loop.remove(process.sandboxed.control)
        if process.started and not process.has_ended:
            # Its PID 1 was killed before it could tell: by plg at the end of the grace, or from outside.
            self._end(process, replace(process.outcome, signal=9))
        self.on_gone(process)
        if self.all_gone:
            self._on_all_gone()


def _is_heard_out(process: RunningProcess, *, is_speaking: bool) -> bool:
    """Whether all that a process said before its word has been passed on; asked once a round."""
    rounds, quiet = process.rounds
    rounds, quiet = rounds + 1, 0 if is_speaking else quiet + 1
    is_heard = quiet == _QUIET_ROUNDS or rounds == _MOST_ROUNDS
    process.rounds = (0, 0) if is_heard else (rounds, quiet)
    return is_heard
