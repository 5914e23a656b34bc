"""A recording from start to end.

    stand (limits, proxy namespace, sandbox) ── the dump begins ── run ── wind down ── settle ── the dump ends

- Run: processes start as `--ready` says, until the `--until` process or all have ended, the time is up, or a
  signal.
- Wind down: the others get the kill signal, the grace, SIGKILL. Packets go on all the while.
- Settle: all processes are gone, their kernels still have last bytes, FINs and RSTs to say. It is over when
  no connection is open, or when nothing has been said for a while.

Whatever goes wrong on the way, everything that was made is taken down in the reverse order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from select import EPOLLIN

from netplayground.dump.model import Process, RunHeader
from netplayground.dump.writer import DumpWriter, check_writable
from netplayground.sandbox.identity import resolve_identity
from netplayground.sandbox.inheritance import Inheritance
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import ProcessSpec
from netplayground.sandbox.proxy import ProxyNamespace, enter_proxy_namespace
from netplayground.session.outcome import RunSummary
from netplayground.session.plan import SUBNET6, Plan, PlannedProcess
from netplayground.session.processes import Processes, RunningProcess
from netplayground.session.recorder import Recorder
from netplayground.session.room import PLENTY, raise_descriptor_limit, room_for_connections
from netplayground.session.signals import SignalWatch
from netplayground.traffic.connect import Connector
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.router import Router, links_by_address

Narrate = Callable[[str], None]

_TX_QUEUE = 10_000  # packets; the kernel's 500 loses most of thirty large datagrams
_GRACE_MARGIN_S = 2.0  # beyond the grace that each PID 1 keeps by itself
_SAME_SIGNAL_S = 0.5  # timeout(1) and others signal the process and then its group: that is asking once
_UNIX_POLL_S = 0.25
_SETTLE_STEP_S = 0.02
_SETTLE_QUIET_STEPS = 10


def record(plan: Plan, narrate: Narrate) -> RunSummary:
    """Run the plan's processes and record them; PlaygroundError when that cannot be done.

    The calling process moves into a network namespace of its own for good, and must have one thread.
    """
    inheritance = Inheritance.of_this_process()
    check_writable(plan.dump_path)
    raise_descriptor_limit()
    with ExitStack() as stack:
        signals = stack.enter_context(SignalWatch())
        proxy = enter_proxy_namespace(plan.mtu, _TX_QUEUE)
        stack.callback(proxy.close)
        sandbox = Sandbox(
            [_spec(process, plan.subnet) for process in plan.processes],
            proxy,
            mtu=plan.mtu,
            queue=_TX_QUEUE,
            kill_signal=plan.kill_signal,
            grace_s=plan.grace_s,
            identity=resolve_identity(plan.uid, plan.gid),
            keep_hostname=plan.keep_hostname,
            inheritance=inheritance,
        )
        stack.callback(sandbox.close)
        sandbox.build()
        writer = DumpWriter.create(plan.dump_path, _run_header(plan), time.time_ns(), time.monotonic_ns)
        stack.callback(writer.close, complete=False)
        recording = Recording(plan, narrate, proxy, sandbox, writer)
        stack.callback(recording.close)
        return recording.run(signals)


class Recording:
    """The run once everything stands."""

    def __init__(
        self, plan: Plan, narrate: Narrate, proxy: ProxyNamespace, sandbox: Sandbox, writer: DumpWriter
    ) -> None:
        self._plan = plan
        self._narrate = narrate
        self._sandbox = sandbox
        self._writer = writer
        self._loop = Loop(before_look=self._pass_on_what_was_sent, before_sleep=writer.flush)
        self._links = [
            Link(planned.name, process.tun_fd, _own_addresses(planned, proxy.has_ipv6), planned.position)
            for planned, process in zip(plan.processes, sandbox.processes, strict=True)
        ]
        self._proxy_link = Link("proxy", proxy.tun_fd, ())
        room = room_for_connections()
        if room < PLENTY:
            narrate(
                f"room for {room:,} connections at once: the limit on open files allows no more (ulimit -Hn)"
            )
        by_address = links_by_address(self._links)
        self._recorder = Recorder(writer, by_address, narrate if plan.verbosity else None)
        self._workspace = Workspace(self._loop, writer.fileno())
        self._connector = Connector(
            self._workspace,
            self._proxy_link,
            proxy.tun_index,
            by_address,
            self._recorder.new_connection,
            room,
            narrate,
        )
        trace = narrate if plan.verbosity > 1 else None
        self._router = Router(
            self._loop,
            self._links,
            self._proxy_link,
            self._connector,
            plan.subnet,
            self._recorder.courier,
            trace,
        )
        self._processes = Processes(
            plan, sandbox.processes, self._loop, writer, self._on_process_ended, self._on_all_gone
        )
        self._is_ending = False
        self._trouble: str | None = None
        self._timed_out_after_s: float | None = None
        self._until_process: str | None = None
        self._interrupted_by: int | None = None
        self._interrupted_at = 0.0
        if plan.verbosity:
            self._name_unix_listeners(set())

    def run(self, signals: SignalWatch) -> RunSummary:
        """Go from the start of the processes to the complete dump."""
        began = time.monotonic()
        signals.attend(self._loop, self._on_signal)
        if self._plan.timeout_s is not None:
            self._loop.call_after(self._plan.timeout_s, self._on_timeout)
        self._processes.start()
        self._loop.run()
        self._connector.close()
        self._router.close()
        drops = self._count_drops()
        self._writer.fact("drops", processes=drops)
        self._writer.close()
        return RunSummary(
            processes=self._processes.outcomes,
            traffic=self._recorder.traffic(drops),
            dump_path=self._plan.dump_path,
            dump_bytes=self._writer.bytes_written,
            duration_s=time.monotonic() - began,
            trouble=self._trouble,
            timed_out_after_s=self._timed_out_after_s,
            until_process=self._until_process,
            interrupted_by=self._interrupted_by,
        )

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
            self._end(f"{name} ended")
        elif rule is not None:
            port = "" if rule.port is None else f" on port {rule.port}"
            if not process.outcome.has_failed:
                self._trouble = f"cannot start the processes after {name}: it ended before it listened{port}"
            self._end(f"{name} ended before it listened")

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

    def _end(self, why: str) -> None:
        self._is_ending = True
        self._writer.fact("ending", why=why)
        self._processes.finish()
        self._loop.call_after(self._plan.grace_s + _GRACE_MARGIN_S, self._processes.kill)

    # The end.

    def _on_all_gone(self) -> None:
        self._is_ending = True  # by itself: what comes now, a timeout or a signal, changes nothing any more
        self._settle(self._writer.bytes_written, _SETTLE_QUIET_STEPS)

    def _settle(self, before: int, steps: int) -> None:
        written = self._writer.bytes_written
        steps = steps - 1 if written == before else _SETTLE_QUIET_STEPS
        if self._connector.open_count and steps:
            self._loop.call_after(_SETTLE_STEP_S, lambda: self._settle(written, steps))
        else:
            self._loop.stop()

    def _count_drops(self) -> dict[str, dict[str, int]]:
        """For each process, what was lost of what it sent, and what its kernel would not take."""
        in_queues = {process.name: process.tx_dropped() for process in self._sandbox.processes}
        drops = {
            link.name: {**link.drops, "in a full queue": in_queues.get(link.name, 0)}
            for link in (*self._links, self._proxy_link)
        }
        drops[self._proxy_link.name]["for want of descriptors"] = self._connector.refused_for_room
        return {name: {why: n for why, n in counts.items() if n} for name, counts in drops.items()}


def _spec(process: PlannedProcess, subnet: IPv4Network) -> ProcessSpec:
    """With the prefixes: programs find their neighbours and their broadcast address by them."""
    return ProcessSpec(
        process.name,
        process.position,
        process.command,
        IPv4Interface((process.address4, subnet.prefixlen)),
        IPv6Interface((process.address6, SUBNET6.prefixlen)),
    )


def _own_addresses(process: PlannedProcess, has_ipv6: bool) -> list[IPv4Address | IPv6Address]:
    """Where a process may send from."""
    if not has_ipv6:
        return [process.address4]
    return [process.address4, process.address6, IPv6Address(f"fe80::{process.position:x}")]


def _run_header(plan: Plan) -> RunHeader:
    return RunHeader(
        subnets=(str(plan.subnet), str(SUBNET6)),
        processes=tuple(
            Process(process.name, process.position, (process.address4, process.address6), process.command)
            for process in plan.processes
        ),
        options={
            "ready": [rule.name if rule.port is None else f"{rule.name}:{rule.port}" for rule in plan.ready],
            "until": list(plan.until),
            "kill_signal": plan.kill_signal,
            "grace_s": plan.grace_s,
            "timeout_s": plan.timeout_s,
            "mtu": plan.mtu,
        },
    )
