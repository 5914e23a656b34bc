"""A live capture from start to end: one loop that waits for packets, for signals and for the time.

    ring and filter stand ── the dump begins ── start ── packets … ── stop ── what the ring holds ── end

It ends on a signal, after a time or a number of packets, or when the interface goes down or away. Whatever
ends it, the dump is complete. Where the disk is slower than the interface the ring fills up, and the kernel
drops what it has no room for: it counts that, the dump tells when it was, and the reassembly marks the bytes
that are missing.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from select import EPOLLERR, EPOLLHUP, EPOLLIN

from netplayground.capture.filters import compile_filter
from netplayground.capture.hosts import Hosts
from netplayground.capture.importing import Imported, Importer, ImportOptions
from netplayground.capture.records import Batch
from netplayground.capture.ring import RETIRE_MS, SIZE, Counts, Ring
from netplayground.capture.telling import Clock
from netplayground.dump.model import PROCESSES_FOLLOW, Address, RunHeader
from netplayground.dump.writer import DumpWriter, check_writable
from netplayground.session.signals import SignalWatch
from netplayground.traffic.loop import Loop

PACKETS_DROPPED = "packets-dropped"
"""A fact: the kernel had no room for so many packets, some time before this."""

_TICK_S = 0.25
_GAP_NS = 5_000_000
_LEFT_S = 2 * RETIRE_MS / 1000
_LEFT_MOST_S = 10.0


@dataclass(frozen=True, slots=True)
class CaptureOptions:
    """What is captured, where to, and for how long."""

    interface: str
    dump: Path
    filter: str = ""
    names: dict[Address, str] = field(default_factory=dict)
    ring: int = SIZE
    promiscuous: bool = True
    timeout_s: float | None = None
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """What there is so far."""

    packets: int
    drops: int
    connections: int
    size: int


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture came to."""

    imported: Imported
    counts: Counts
    trouble: str = ""
    """Why it ended, if nobody had asked for that."""


def capture(options: CaptureOptions, report: Callable[[Status], None]) -> Captured:
    """Capture until the end; `report` is told several times a second how far it has come.

    PlaygroundError when it cannot begin, or when the dump cannot be written.
    """
    check_writable(options.dump)
    with ExitStack() as stack:
        signals = stack.enter_context(SignalWatch())
        ring = Ring(options.interface, options.ring)
        stack.callback(ring.close)
        if options.filter:
            ring.attach(compile_filter(options.filter, None if ring.is_cooked else options.interface))
        hosts, clock = Hosts(options.names), Clock()
        clock.now = time.time_ns()
        writer = DumpWriter.create(options.dump, _run(options, hosts), clock.now, clock)
        stack.callback(writer.close, complete=False)
        loop = Loop()
        stack.callback(loop.close)
        live = Live(options, ring, writer, hosts, clock, loop, report)
        signals.attend(loop, lambda _number: live.end())
        return live.run()


def _run(options: CaptureOptions, hosts: Hosts) -> RunHeader:
    words = {"capture": options.interface, "filter": options.filter}
    return RunHeader(subnets=(), processes=hosts.named, options={PROCESSES_FOLLOW: True, **words})


class Live:
    """A capture that runs."""

    def __init__(
        self,
        options: CaptureOptions,
        ring: Ring,
        writer: DumpWriter,
        hosts: Hosts,
        clock: Clock,
        loop: Loop,
        report: Callable[[Status], None],
    ) -> None:
        self._options = options
        self._ring = ring
        self._writer = writer
        self._hosts = hosts
        self._clock = clock
        self._loop = loop
        self._report = report
        choices = ImportOptions(captures=(), dump=options.dump, names=options.names)
        self._importer = Importer(choices, writer, hosts, clock)
        # An interface shows packets in their order but for moments: what its receiver has and we have not
        # is lost, and to wait for it costs the time that the next packets need.
        self._importer.reassembler.gap_ns = _GAP_NS
        self._drops = 0
        self._left = options.packets
        self._is_ending = self._is_lost = False

    def run(self) -> Captured:
        """Go from the start to the complete dump."""
        self._ring.start(self._options.promiscuous)
        self._loop.add(self._ring.fileno(), EPOLLIN, self._on_ring)
        if self._options.timeout_s is not None:
            self._loop.call_after(self._options.timeout_s, self.end)
        self._tick()
        self._loop.run()
        self._importer.finish()
        counts = self._note_drops()
        self._clock.now = max(self._clock.now, time.time_ns())
        self._writer.close()
        return Captured(self._imported(), counts, self._trouble())

    def end(self) -> None:
        """Hear nothing more, and end once the ring is empty."""
        if self._is_ending:
            return
        self._is_ending = True
        self._ring.stop()
        # A packet that was let through before that may still be on its way, and a block that is not full is
        # ours only after its time.
        self._loop.call_after(_LEFT_S, self._end_when_empty)
        self._loop.call_after(_LEFT_MOST_S, self._loop.stop)

    def _end_when_empty(self) -> None:
        if self._ring.blocks.is_empty:
            self._loop.stop()
        else:
            self._loop.call_after(_LEFT_S, self._end_when_empty)

    def _on_ring(self, events: int) -> None:
        if events & (EPOLLERR | EPOLLHUP) and self._ring.take_error():
            self._is_lost = True
            self.end()
        for batch in self._ring.blocks.take():
            self._take(batch)
        self._ring.blocks.release()

    def _take(self, batch: Batch) -> None:
        if self._left is None:
            self._importer.feed(batch)
        elif self._left:
            del batch.heads[self._left :]
            self._left -= len(batch.heads)
            self._importer.feed(batch)
            if not self._left:
                self._is_ending = True
                self._ring.stop()
                self._loop.stop()

    def _tick(self) -> None:
        """Say how far it has come; what is known stands in the file then."""
        self._loop.call_after(_TICK_S, self._tick)
        counts = self._note_drops()
        self._importer.teller.commit_datagrams()
        self._writer.flush()
        connections = self._writer.totals.connections
        self._report(Status(self._importer.packets, counts.drops, connections, self._writer.bytes_written))

    def _note_drops(self) -> Counts:
        counts = self._ring.counts()
        if counts.drops > self._drops:
            self._importer.teller.commit_datagrams()
            self._writer.fact(PACKETS_DROPPED, packets=counts.drops - self._drops)
            self._drops = counts.drops
        return counts

    def _trouble(self) -> str:
        if not self._is_lost:
            return ""
        try:
            socket.if_indextoname(self._ring.index)
        except OSError:
            return f"{self._options.interface} is gone: the capture ends here"
        return f"{self._options.interface} went down: the capture ends here"

    def _imported(self) -> Imported:
        importer, writer = self._importer, self._writer
        return Imported(
            packets=importer.packets,
            segments=importer.segments,
            no_ip=importer.no_ip,
            malformed=importer.malformed,
            fragments_dropped=importer.fragments_dropped,
            hosts=self._hosts.count,
            incomplete=importer.teller.incomplete,
            missing=importer.teller.missing,
            differing=importer.teller.differing,
            given_up=importer.reassembler.cut,
            written=writer.totals,
            size=writer.bytes_written,
            cut={},
        )
