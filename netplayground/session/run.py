"""One run, of whatever kind, once its ground stands.

    run ── wind down ── settle

- Run: processes start as `--ready` says, until the `--until` process or all have ended, the time is up, a
  signal comes, or the kind of run says so.
- Wind down: the others get the kill signal, the grace, SIGKILL. Packets go on all the while.
- Settle: all processes are gone, their kernels still have last bytes, FINs and RSTs to say. It is over when
  no connection is open, or when nothing has been said for a while.

A kind of run adds who takes connections apart (`_route`), who is told what no packet tells (`_tell`), and how
much has been said so far (`_said`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from select import EPOLLIN
from typing import TYPE_CHECKING

from netplayground.session.ground import Ground
from netplayground.session.outcome import ENDING_FACT
from netplayground.session.plan import Plan, PlannedProcess
from netplayground.session.processes import Processes, RunningProcess
from netplayground.session.room import PLENTY, room_for_connections
from netplayground.session.status import (
    FIRST_LOOK_S,
    LOOK_EVERY_S,
    REST_PER_LOOK,
    ProcessStatus,
    Status,
    Watch,
)
from netplayground.traffic.datagrams import DatagramListener
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.router import Interceptor, Router, links_by_address

if TYPE_CHECKING:
    from netplayground.session.control import Control, Questions  # imports half of a replay

Narrate = Callable[[str], None]

_GRACE_MARGIN_S = 2.0  # beyond the grace that each PID 1 keeps by itself
_SAME_SIGNAL_S = 0.5  # timeout(1) and others signal the process and then its group: that is asking once
_UNIX_POLL_S = 0.25
_SETTLE_STEP_S = 0.02
_SETTLE_QUIET_STEPS = 10
_TOLD_ADDRESSES = 2  # the link-local one is of no use without its device


class Run(ABC):
    """Processes, the router between them, and why and how it all ends."""

    _interceptor: Interceptor

    def __init__(
        self,
        plan: Plan,
        narrate: Narrate,
        ground: Ground,
        file_fd: int,
        before_sleep: Callable[[], None],
        control: Control | None = None,
    ) -> None:
        """`file_fd`: where bytes lie that a process's kernel did not take at once."""
        self._plan = plan
        self._control = control
        self._flush = before_sleep
        self._narrate = narrate
        self._ground = ground
        self._sandbox = ground.sandbox
        self._loop = Loop(before_look=self._pass_on_what_was_sent, before_sleep=before_sleep)
        live = [process for process in plan.processes if process.is_live]
        self._links = [
            Link(
                planned.name, process.tun_fd, own_addresses(planned, ground.proxy.has_ipv6), planned.position
            )
            for planned, process in zip(live, self._sandbox.processes, strict=True)
        ]
        self._by_address = links_by_address(self._links)
        self._proxy_link = Link("proxy", ground.proxy.tun_fd, ())
        self._room = room_for_connections()
        if self._room < PLENTY:
            narrate(
                f"room for {self._room:,} connections at once: the limit on open files allows no more "
                "(ulimit -Hn)"
            )
        self._workspace = Workspace(self._loop, file_fd)
        self._processes = Processes(
            plan,
            self._sandbox.processes,
            self._loop,
            self._tell,
            self._on_process_ended,
            self._on_all_gone,
        )
        self._is_ending = False
        self._trouble: str | None = None
        self._timed_out_after_s: float | None = None
        self._until_process: str | None = None
        self._interrupted_by: int | None = None
        self._interrupted_at = 0.0
        self._began = time.monotonic()
        if plan.verbosity:
            self._name_unix_listeners(set())

    @abstractmethod
    def _tell(self, kind: str, **fields: object) -> None:
        """Something happened that no packet tells."""

    @abstractmethod
    def _said(self) -> int:
        """A number that grows with whatever is said."""

    @abstractmethod
    def _status(self) -> Status:
        """How it goes."""

    def be_watched(self, watch: Watch) -> None:
        """Tell `watch` a few times a second how it goes."""

        def look() -> None:
            began = time.process_time()
            watch(self._status())
            took = time.process_time() - began
            self._loop.call_after(max(LOOK_EVERY_S, took * REST_PER_LOOK), look)

        self._loop.call_after(FIRST_LOOK_S, look)

    def _questions(self) -> Questions:
        """What a leader may ask of this kind of run."""
        return {}

    def _route(
        self, interceptor: Interceptor, datagrams: DatagramListener, absent: Sequence[Link] = ()
    ) -> None:
        """Let packets go, with these in their way; `absent` are links of those that are not there."""
        self._interceptor = interceptor
        trace = self._narrate if self._plan.verbosity > 1 else None
        self._router = Router(
            self._loop,
            self._links,
            self._proxy_link,
            interceptor,
            self._plan.subnet,
            datagrams,
            trace,
            absent,
        )

    def _go(self) -> float:
        """From the start of the processes until nothing is left of them; how long that took, in seconds."""
        self._began = began = time.monotonic()
        self._ground.signals.attend(self._loop, self._on_signal)
        if self._plan.timeout_s is not None:
            self._loop.call_after(self._plan.timeout_s, self._on_timeout)
        if self._control is not None:
            has_ipv6 = self._ground.proxy.has_ipv6
            addresses = {
                process.name: [str(address) for address in own_addresses(process, has_ipv6)[:_TOLD_ADDRESSES]]
                for process in self._plan.processes
            }
            self._control.attend(
                self._loop, addresses, self._processes, self._flush, self._end_once, self._questions()
            )
        self._processes.start()
        self._loop.run()
        self._interceptor.close()
        self._router.close()
        return time.monotonic() - began

    def close(self) -> None:
        """Let go of the loop; descriptors of the others stay theirs."""
        self._loop.close()

    def _pass_on_what_was_sent(self) -> None:
        if self._workspace.has_sent:
            # Our kernel has packets for the processes now: epoll would only tell us so.
            self._workspace.has_sent = False
            self._router.read_proxy(EPOLLIN)

    def _name_unix_listeners(self, named: set[tuple[str, str]]) -> None:
        """Say of each listening UNIX socket, once, that what is said there stays unseen."""
        for process in self._sandbox.processes:
            for listener in process.unix_listeners():
                if (process.name, listener) not in named:
                    named.add((process.name, listener))
                    self._narrate(f"{process.name} listens on UNIX socket {listener}, which is not recorded")
        self._loop.call_after(_UNIX_POLL_S, lambda: self._name_unix_listeners(named))

    # Why a run ends.

    def _on_process_ended(self, process: RunningProcess) -> None:
        name = process.planned.name
        if self._is_ending:
            return
        rule = self._processes.awaited(name)
        if name in self._plan.until:
            self._until_process = name
            self._on_until(name)
        elif rule is not None:
            port = "" if rule.port is None else f" on port {rule.port}"
            if not process.outcome.has_failed:
                self._trouble = f"cannot start the processes after {name}: it ended before it listened{port}"
            self._end(f"{name} ended before it listened")

    def _on_until(self, name: str) -> None:
        """A process with which the run ends has ended."""
        self._end(f"{name} ended")

    def _on_timeout(self) -> None:
        if not self._is_ending:
            self._timed_out_after_s = self._plan.timeout_s
            self._end("timeout")

    def _on_signal(self, number: int) -> None:
        now = time.monotonic()
        if not self._is_ending:
            self._interrupted_by = number
            self._end(f"signal {number}")
        elif self._interrupted_by is None or now - self._interrupted_at > _SAME_SIGNAL_S:
            self._processes.kill()  # asked once more: no more grace
        self._interrupted_at = now

    def _end_once(self, why: str) -> None:
        if not self._is_ending:
            self._end(why)

    def _end(self, why: str) -> None:
        self._is_ending = True
        self._tell(ENDING_FACT, why=why)
        self._processes.finish()
        self._loop.call_after(self._plan.grace_s + _GRACE_MARGIN_S, self._processes.kill)

    # The end.

    def _on_all_gone(self) -> None:
        self._is_ending = True  # by itself: what comes now, a timeout or a signal, changes nothing any more
        self._settle(self._said(), _SETTLE_QUIET_STEPS)

    def _settle(self, before: int, steps: int) -> None:
        said = self._said()
        steps = steps - 1 if said == before else _SETTLE_QUIET_STEPS
        if self._interceptor.open_count and steps:
            self._loop.call_after(_SETTLE_STEP_S, lambda: self._settle(said, steps))
        elif self._router.drain():
            self._loop.again(lambda: self._settle(said, steps))
        else:
            self._loop.stop()

    def _process_states(self) -> tuple[ProcessStatus, ...]:
        """Every process of the plan, those that are played from a dump too."""
        running = {process.planned.name: process for process in self._processes.all}
        return tuple(self._status_of(planned, running.get(planned.name)) for planned in self._plan.processes)

    def _status_of(self, planned: PlannedProcess, process: RunningProcess | None) -> ProcessStatus:
        if process is None:
            return ProcessStatus(planned.name, "played from the dump", is_running=False)
        outcome = process.outcome
        if process.has_ended:
            return ProcessStatus(planned.name, outcome.describe(), False, outcome.has_failed)
        if process.started:
            return ProcessStatus(planned.name, "ending" if outcome.ended_by_plg else "running", True)
        servers = ", ".join(
            rule.name if rule.port is None else f"{rule.name}:{rule.port}"
            for rule in self._processes.awaited_by(process)
        )
        return ProcessStatus(planned.name, f"waiting for {servers}" if servers else "waiting", False)

    def _dropped(self) -> int:
        return sum(sum(counts.values()) for counts in self._count_drops().values())

    def _count_drops(self) -> dict[str, dict[str, int]]:
        """For each process, what was lost of what it sent, and what its kernel would not take."""
        in_queues = {process.name: process.tx_dropped() for process in self._sandbox.processes}
        in_queues[self._proxy_link.name] = self._ground.proxy.tx_dropped()
        drops = {
            link.name: {**link.drops, "in a full queue": in_queues.get(link.name, 0)}
            for link in (*self._links, self._proxy_link)
        }
        drops[self._proxy_link.name]["for want of descriptors"] = self._interceptor.refused_for_room
        return {name: {why: n for why, n in counts.items() if n} for name, counts in drops.items()}


def own_addresses(process: PlannedProcess, has_ipv6: bool) -> list[IPv4Address | IPv6Address]:
    """Where a process may send from."""
    if not has_ipv6:
        return [process.address4]
    return [process.address4, process.address6, IPv6Address(f"fe80::{process.position:x}")]
