"""Captures as other programs see them, and captures made worse: shuffled, doubled, thinned out, forged, cut.

A flow is one direction of a connection: who sent what to whom. Flows of the same ends keep their order.
"""

from __future__ import annotations

import random
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from capture.frames import Frame
from journey.dumps import TOOL_DEADLINE_S, Address, ask_tshark, read_streams

from needs import needs_program
from netplayground.capture.network import parse_network, parse_segment
from netplayground.capture.records import Records
from netplayground.packet import ip
from netplayground.packet.tcp import ACK, FIN, RST, SYN

Flows = dict[tuple[Address, Address], list[bytes]]


def by_plg(dump: Path) -> Flows:
    """What a dump has."""
    flows: Flows = {}
    for stream in read_streams(dump):
        _add(flows, stream.client, stream.server, stream.sent)
        _add(flows, stream.server, stream.client, stream.received)
    return flows


def by_tshark(capture: Path, most: int) -> Flows:
    """What `-z follow,tcp` shows, of `most` connections at most."""
    flows: Flows = {}
    for stream in ask_tshark(capture, most).streams:
        _add(flows, stream.client, stream.server, stream.sent)
        _add(flows, stream.server, stream.client, stream.received)
    return flows


def by_tcpflow(capture: Path) -> Flows:
    """What tcpflow writes, a file for each flow."""
    (tcpflow,) = needs_program("tcpflow")
    flows: Flows = {}
    with tempfile.TemporaryDirectory(prefix="plg-tcpflow-") as folder:
        # %N is a number for each flow: in the order of the file, and unique.
        words = [tcpflow, "-r", str(capture), "-o", folder, "-X", "/dev/null", "-T", "%N_%A.%a-%B.%b_%c"]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=TOOL_DEADLINE_S)
        assert ended.returncode == 0, ended.stderr
        for file in sorted(Path(folder).iterdir(), key=lambda each: int(each.name.partition("_")[0])):
            source, _, destination = file.name.split("_")[1].partition("-")
            _add(flows, _flow_end(source), _flow_end(destination), file.read_bytes())
    return flows


def _add(flows: Flows, source: Address, destination: Address, data: bytes) -> None:
    if data:
        flows.setdefault((source, destination), []).append(data)


def _flow_end(text: str) -> Address:
    address, _, port = text.rpartition(".")
    return ".".join(str(int(octet)) for octet in address.split(".")), int(port)


def read_frames(capture: Path) -> list[Frame]:
    """The TCP packets of a capture, from their IP headers on."""
    records = Records(capture)
    frames = []
    for batch in records.batches():
        for _, time_ns, begin, end, _missing in batch.packets():
            packet = bytes(batch.buffer[begin:end])
            if packet[0] >> 4 == 4 and packet[9] == ip.TCP:
                frames.append(Frame(packet, time_ns))
    records.close()
    return frames


def payload(frame: Frame) -> tuple[int, int, int]:
    """Flags, and where in the packet its payload begins and ends."""
    buffer = memoryview(frame.packet)
    segment = parse_segment(buffer, parse_network(buffer, 0, len(buffer)))
    return segment.flags, segment.begin, segment.end


def in_order_of_time(frames: Sequence[Frame]) -> list[Frame]:
    """Each packet a microsecond after the one before: a capture whose clock never runs backwards."""
    first = frames[0].time_ns
    return [replace(frame, time_ns=first + 1000 * at) for at, frame in enumerate(frames)]


def shuffled(frames: Sequence[Frame], seed: int, window: int = 8) -> list[Frame]:
    """Each packet is moved by less than `window` places; opening and ending stay where they are."""
    chance = random.Random(seed)

    def place(at: int) -> float:
        return at + (
            chance.random() * window if not payload(frames[at])[0] & (SYN | FIN | RST) else window / 2
        )

    return in_order_of_time([frames[at] for at in sorted(range(len(frames)), key=place)])


def doubled(frames: Sequence[Frame], seed: int, share: float = 0.1) -> list[Frame]:
    """Some packets come again a little later."""
    chance = random.Random(seed)
    order = [(at + 0.0, frame) for at, frame in enumerate(frames)]
    order += [
        (at + 0.5 + chance.random() * 5, frames[at]) for at in range(len(frames)) if chance.random() < share
    ]
    return in_order_of_time([frame for _, frame in sorted(order, key=lambda pair: pair[0])])


def without(frames: Sequence[Frame], seed: int, share: float = 0.01) -> list[Frame]:
    """Some packets with data are not there."""
    chance = random.Random(seed)
    return [frame for frame in frames if payload(frame)[1] == payload(frame)[2] or chance.random() >= share]


def overlapping(frames: Sequence[Frame], seed: int, share: float = 0.1, forged: bool = False) -> list[Frame]:
    """After some packets with data comes one that repeats the second half of it; `forged`: as other bytes."""
    chance = random.Random(seed)
    found = []
    for frame in frames:
        found.append(frame)
        flags, begin, end = payload(frame)
        if end - begin > 8 and not flags & (SYN | FIN | RST) and chance.random() < share:
            half = (end - begin) // 2
            data = frame.packet[begin + half : end]
            found.append(_resent(frame, half, bytes(octet ^ 0x20 for octet in data) if forged else data))
    return in_order_of_time(found)


def _resent(frame: Frame, skip: int, data: bytes) -> Frame:
    """Give a packet with the same headers, further on in the stream."""
    _, begin, _ = payload(frame)
    header = bytearray(frame.packet[:begin])
    sequence = struct.unpack_from(">I", header, 24)[0]
    struct.pack_into(">I", header, 24, sequence + skip & 0xFFFFFFFF)
    struct.pack_into(">H", header, 2, begin + len(data))
    return replace(frame, packet=bytes(header) + data)


def wrapped(frames: Sequence[Frame]) -> list[Frame]:
    """Sequence numbers are moved so that each stream passes 2**32 after a few hundred bytes."""
    moved: dict[bytes, int] = {}
    found = []
    for frame in frames:
        packet = bytearray(frame.packet)
        flags, _, _ = payload(frame)
        mine, theirs = (
            bytes(packet[12:24]),
            bytes(packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22]),
        )
        sequence, ack = struct.unpack_from(">II", packet, 24)
        if flags & SYN:
            moved[mine] = -500 - sequence
        sequence += moved.get(mine, 0)
        if flags & ACK:
            ack += moved.get(theirs, 0)
        struct.pack_into(">II", packet, 24, sequence & 0xFFFFFFFF, ack & 0xFFFFFFFF)
        found.append(replace(frame, packet=bytes(packet)))
    return found
