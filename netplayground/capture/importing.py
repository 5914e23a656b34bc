"""Captures to a dump, in one pass and with bounded memory.

Each packet goes link → network → fragments → reassembly; what the reassembly finds out is written as it comes
(`telling`). Where NumPy is installed, whole batches take the short way (`fast`), which hands back what is not
in order.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from netplayground.capture.ahead import AtOnce, Behind
from netplayground.capture.connection import Gaps
from netplayground.capture.fragments import Fragments
from netplayground.capture.hosts import Hosts
from netplayground.capture.link import HEADERS, find_ip
from netplayground.capture.merging import Read
from netplayground.capture.network import Network, parse_network, parse_segment
from netplayground.capture.reading import Step, Steps, read_ahead, short_way
from netplayground.capture.reassembly import Limits, Reassembler
from netplayground.capture.records import Batch
from netplayground.capture.script import Script
from netplayground.capture.stream import Overlap
from netplayground.capture.telling import Clock, Teller
from netplayground.dump.model import PROCESSES_FOLLOW, Address, RunHeader
from netplayground.dump.writer import DumpWriter, Written
from netplayground.errors import CaptureError
from netplayground.packet import MalformedPacket, icmp, ip, udp
from netplayground.packet.checksum import Octets

if TYPE_CHECKING:
    from netplayground.capture.fast import Batches, Prepared

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What is imported, and how doubtful cases are decided."""

    captures: tuple[Path, ...]
    dump: Path
    names: dict[Address, str] = field(default_factory=dict)
    overlap: Overlap = Overlap.FIRST_WINS
    gaps: Gaps = Gaps.SKIP
    limits: Limits = field(default_factory=Limits)
    vectors: bool = True
    """Use NumPy where it is installed."""
    fd: int | None = None
    """The empty file that becomes the dump; `dump` is then only its name in errors."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to."""

    packets: int
    segments: int
    no_ip: int
    """Packets of no IP, or of a link type that is not known."""
    malformed: int
    fragments_dropped: int
    hosts: int
    incomplete: int
    missing: int
    differing: int
    given_up: int
    written: Written
    size: int
    cut: dict[Path, int]


class Importer:
    """One import: packets in, a dump out."""

    def __init__(
        self,
        options: ImportOptions,
        writer: DumpWriter,
        hosts: Hosts,
        clock: Clock,
        behind: Behind | None = None,
    ) -> None:
        """Without `behind` a batch is written when `feed` returns: its memory may be used again."""
        self._clock = clock
        self.teller = Teller(writer, hosts)
        self._script = Script(self.teller)
        choices = options.overlap, options.gaps, options.limits
        self.reassembler = Reassembler(self._script, *choices)
        self._batches: Batches | None = None
        if options.vectors and (batches := short_way()[0]):
            told = self._script, self.teller, writer, clock
            self._batches = batches(self.reassembler, *told, behind or AtOnce())
        else:
            self._script.memory = self.teller.recall
        self._fragments = Fragments()
        self._unknown_links: Counter[int] = Counter()
        self.packets = self.segments = self.no_ip = self.malformed = 0

    @property
    def fragments_dropped(self) -> int:
        """Fragments whose packet never became whole."""
        return self._fragments.dropped

    def feed(self, batch: Batch, prepared: Prepared | None = None) -> None:
        """Take a batch, which may be prepared for the short way."""
        buffer = memoryview(batch.buffer)
        if self._batches is not None:
            prepared = prepared or self._batches.prepare(batch)
            if prepared is None:
                # The other way knows nothing of the connections that are ordinary.
                self._batches.finish()
        if self._batches is not None and prepared is not None:
            decoded = self._batches.take(prepared, lambda *place: self._frame(buffer, *place))
            self.segments += decoded  # and so did `_frame` meanwhile
            self.packets += len(batch.heads)
            return
        if self._batches is not None:
            self._batches.wait()
        for interface, time_ns, begin, end, _missing in batch.packets():
            self.packets += 1
            if time_ns > self._clock.now:
                self._clock.now = time_ns
            self.reassembler.advance(self._clock.now, 1)
            self._frame(buffer, interface.link_type, begin, end)
            if self._script.actions:
                self._script.perform()

    def _frame(self, buffer: memoryview, link_type: int, begin: int, end: int) -> None:
        """Take one packet as it was captured."""
        if link_type not in HEADERS:
            self._unknown_links[link_type] += 1
            self.no_ip += 1
            return
        at = find_ip(link_type, buffer, begin, end)
        if at < 0:
            self.no_ip += 1
            return
        try:
            self._ip_packet(buffer, at, end)
        except MalformedPacket:
            self.malformed += 1

    def _ip_packet(self, buffer: memoryview, begin: int, end: int) -> None:
        """Take an IP packet; MalformedPacket if its headers make no sense."""
        network = parse_network(buffer, begin, end)
        if network.offset >= 0:
            whole = self._fragments.take(network, buffer, self.reassembler.now)
            if whole is None:
                return
            buffer = memoryview(ip.emit_header(*_ends(network), network.protocol, len(whole)) + whole)
            begin, end = 0, len(buffer)
            network = parse_network(buffer, begin, end)
        if network.protocol == ip.TCP:
            key, sequence, ack, flags, first, last, missing = parse_segment(buffer, network)
            self.segments += 1
            self.reassembler.segment(key, sequence, ack, flags, buffer[first:last], missing)
        else:
            self._datagram(buffer, begin, network)

    def _datagram(self, buffer: memoryview, begin: int, network: Network) -> None:
        if network.missing:
            raise MalformedPacket("a packet is cut off")
        if network.end - network.begin > ip.PAYLOAD_MOST[network.version]:
            raise MalformedPacket("more than a datagram may hold")
        source, destination = _ends(network)
        if network.protocol == ip.UDP:
            datagram = udp.parse_datagram(buffer[network.begin : network.end])
            ports = datagram.source_port, datagram.destination_port
            # Written anew: its checksum may never have been finished where it was captured.
            packet = udp.emit_packet(source, ports[0], destination, ports[1], datagram.payload)
            self._script.datagram(packet, source, destination, False)
            return
        packet = bytes(buffer[begin : network.end])
        quoted = icmp.parse_unreachable(ip.parse_packet(packet))
        if quoted is None or not self._ends_connection(quoted):
            self._script.datagram(packet, source, destination, quoted is not None)

    def _ends_connection(self, quoted: Octets) -> bool:
        """Say whether an ICMP error has answered a SYN, which ends that connection."""
        try:
            # An error quotes the packet's first octets; its length is that of the whole.
            network = parse_network(quoted, 0, len(quoted))
        except (MalformedPacket, IndexError):
            return False
        if network.protocol != ip.TCP or network.offset > 0 or network.begin + 4 > network.end:
            return False
        key = network.addresses + bytes(quoted[network.begin : network.begin + 4])
        return self.reassembler.unreachable(key)

    def close(self) -> None:
        """Stop what runs beside."""
        if self._batches is not None:
            self._batches.close()

    def finish(self) -> None:
        """The captures are over."""
        if self._batches is not None:
            self._batches.finish()
        self.reassembler.finish()
        self._script.perform()
        self.teller.commit_datagrams()

    def check_links(self) -> None:
        """Raise CaptureError if nothing could be read because of the link types."""
        if self._unknown_links and sum(self._unknown_links.values()) == self.packets:
            kinds = ", ".join(map(str, sorted(self._unknown_links)))
            raise CaptureError(
                f"cannot read the packets: they are of link type {kinds}, which plg does not know"
            )


def _ends(network: Network) -> tuple[bytes, bytes]:
    half = len(network.addresses) // 2
    return network.addresses[:half], network.addresses[half:]


def import_captures(options: ImportOptions, progress: Progress = lambda done, size: None) -> Imported:
    """Write the dump of some captures; `progress` is told how many octets have been read, of how many."""
    # Nothing here is ever part of a cycle, and looking for cycles takes a quarter of the time.
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return _import(options, progress)
    finally:
        if is_collecting:
            gc.enable()


def _import(options: ImportOptions, progress: Progress) -> Imported:
    clock, hosts = Clock(), Hosts(options.names)
    steps = read_ahead(options.captures, options.vectors)
    writer: DumpWriter | None = None
    try:
        step = next(steps)
        # What is not a capture is refused before the dump is touched.
        first = next(step.batch.packets(), None) if step.batch else None
        clock.now = max(clock.now, first[1] if first else 0)
        writer = DumpWriter.create(options.dump, _run(options, hosts), clock.now, clock, fd=options.fd)
        importer = Importer(options, writer, hosts, clock, AtOnce() if steps.is_apart else Behind())
        try:
            step = _take_all(importer, writer, step, steps, progress)
        finally:
            importer.close()
        importer.check_links()
        return _imported(importer, writer, hosts, step.read)
    finally:
        steps.close()
        if writer is not None:
            writer.close(complete=False)


def _take_all(importer: Importer, writer: DumpWriter, step: Step, steps: Steps, progress: Progress) -> Step:
    """Take all batches, and complete the dump; give the last step."""
    while step.batch is not None:
        importer.feed(step.batch, step.prepared)
        progress(step.read.position, step.read.size)
        step = next(steps)
    importer.finish()
    writer.close()
    return step


def _run(options: ImportOptions, hosts: Hosts) -> RunHeader:
    names = [str(path) for path in options.captures]
    return RunHeader(subnets=(), processes=hosts.named, options={PROCESSES_FOLLOW: True, "captures": names})


def _imported(importer: Importer, writer: DumpWriter, hosts: Hosts, read: Read) -> Imported:
    teller = importer.teller
    return Imported(
        packets=importer.packets,
        segments=importer.segments,
        no_ip=importer.no_ip,
        malformed=importer.malformed,
        fragments_dropped=importer.fragments_dropped,
        hosts=hosts.count,
        incomplete=teller.incomplete,
        missing=teller.missing,
        differing=teller.differing,
        given_up=importer.reassembler.cut,
        written=writer.totals,
        size=writer.bytes_written,
        cut=read.cut,
    )
