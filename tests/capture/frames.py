"""Captured packets for the tests: TCP connections as frames, and the files that hold them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from netplayground.packet import ip
from netplayground.packet.tcp import ACK, FIN, PSH, RST, SYN

CLIENT, SERVER = "10.1.2.3", "10.1.2.4"
CLIENT6, SERVER6 = "fd00::3", "fd00::4"
START_NS = 1_700_000_000_000_000_000
MASK = 0xFFFFFFFF
ETHERNET, RAW = 1, 101


@dataclass(frozen=True)
class Frame:
    """One packet and when it was captured."""

    packet: bytes
    time_ns: int = START_NS


def tcp(
    source: tuple[str, int],
    destination: tuple[str, int],
    sequence: int,
    ack: int,
    flags: int,
    data: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """Give the IP packet of a segment; its checksum is 0, as where it is offloaded."""
    ports = source[1], destination[1]
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack(">HHIIBBHHH", *ports, sequence & MASK, ack & MASK, offset, flags, 65535, 0, 0)
    ends = ip_address(source[0]).packed, ip_address(destination[0]).packed
    segment = header + options + data
    return ip.emit_header(*ends, ip.TCP, len(segment)) + segment


@dataclass
class Talk:
    """A conversation that is played segment by segment; `frames` is what a capture has of it."""

    port: int = 40000
    server_port: int = 80
    client: str = CLIENT
    server: str = SERVER
    initial: tuple[int, int] = (1000, 5000)
    time_ns: int = START_NS
    step_ns: int = 100_000
    frames: list[Frame] = field(default_factory=list)
    said: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    next: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.next = list(self.initial)

    def send(self, side: int, flags: int, data: bytes = b"", *, shift: int = 0, counts: bool = True) -> Frame:
        """Capture a segment of one side; `shift` moves its sequence number, `counts` says it is a new one."""
        ends = (self.client, self.port), (self.server, self.server_port)
        ack = self.next[1 - side] if flags & ACK else 0
        packet = tcp(ends[side], ends[1 - side], self.next[side] + shift, ack, flags, data)
        frame = Frame(packet, self.time_ns)
        self.frames.append(frame)
        self.time_ns += self.step_ns
        if counts:
            self.next[side] += len(data) + bool(flags & SYN) + bool(flags & FIN)
            self.said[side] += data
        return frame

    def open(self) -> Talk:
        """SYN, SYN-ACK, ACK."""
        self.send(0, SYN)
        self.send(1, SYN | ACK)
        self.send(0, ACK)
        return self

    def say(self, side: int, data: bytes, size: int = 1448) -> Talk:
        """Data in segments, each acknowledged."""
        for at in range(0, len(data), size):
            self.send(side, PSH | ACK, data[at : at + size])
            self.send(1 - side, ACK)
        return self

    def close(self, first: int = 0) -> Talk:
        """FIN of one side, FIN of the other, ACK."""
        self.send(first, FIN | ACK)
        self.send(1 - first, FIN | ACK)
        self.send(first, ACK)
        return self

    def abort(self, side: int) -> Talk:
        """RST."""
        self.send(side, RST | ACK)
        return self


def pcap(
    frames: Iterable[Frame],
    order: str = "<",
    nanoseconds: bool = True,
    link_type: int = RAW,
    link: bytes = b"",
    snap: int = 262144,
) -> bytes:
    """Give the pcap file of some packets; `link` goes before each."""
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link_type)]
    for frame in frames:
        whole = link + frame.packet
        seconds, fraction = divmod(frame.time_ns, 1_000_000_000)
        data = whole[:snap]
        out.append(struct.pack(order + "IIII", seconds, fraction // unit, len(data), len(whole)) + data)
    return b"".join(out)


def block(order: str, kind: int, body: bytes) -> bytes:
    """Give a pcapng block."""
    body += bytes(-len(body) % 4)
    length = 12 + len(body)
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order: str = "<") -> bytes:
    """Give a section header."""
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str = "<", link_type: int = RAW, resolution: int | None = 9, offset: int = 0) -> bytes:
    """Give an interface description."""
    body = struct.pack(order + "HHI", link_type, 0, 0)
    if resolution is not None:
        body += struct.pack(order + "HHBxxx", 9, 1, resolution)
    if offset:
        body += struct.pack(order + "HHq", 14, 8, offset)
    return block(order, 1, body + bytes(4))


def enhanced(packet: bytes, ticks: int, order: str = "<", which: int = 0) -> bytes:
    """Give an enhanced packet block."""
    length = len(packet)
    head = struct.pack(order + "IIIII", which, ticks >> 32, ticks & MASK, length, length)
    return block(order, 6, head + packet)


def pcapng(frames: Iterable[Frame], order: str = "<", link_type: int = RAW, link: bytes = b"") -> bytes:
    """Give the pcapng file of some packets: one section, one interface, nanoseconds."""
    blocks = (enhanced(link + frame.packet, frame.time_ns, order) for frame in frames)
    return section(order) + interface(order, link_type) + b"".join(blocks)


def simples(frames: Iterable[Frame], order: str = "<", link_type: int = RAW, link: bytes = b"") -> bytes:
    """Give a pcapng of simple packet blocks, which have no times."""
    blocks = [section(order), interface(order, link_type)]
    for frame in frames:
        packet = link + frame.packet
        body = struct.pack(order + "I", len(packet)) + packet + bytes(-len(packet) % 4)
        blocks.append(block(order, 3, body))
    return b"".join(blocks)


def ethernet(kind: int = 0x0800, *tags: int) -> bytes:
    """Give an Ethernet header with VLAN tags of these types."""
    types = b"".join(struct.pack(">HH", tag, 7) for tag in tags)
    return bytes(range(12)) + types + kind.to_bytes(2, "big")


def in_time(frames: Sequence[Frame], step_ns: int = 100_000) -> list[Frame]:
    """Give the frames with times that follow their order."""
    return [replace(frame, time_ns=START_NS + at * step_ns) for at, frame in enumerate(frames)]


def write(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path
