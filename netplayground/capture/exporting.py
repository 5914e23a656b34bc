"""Recordings for other programs: as a capture, as a file for each direction of a connection, as JSON lines.

A capture is written in the order and with the times of the recording; what is not TCP is in it as it is in
the recording. It is no recording any more: what no packet can tell (processes, facts) is not in it.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from netplayground.capture.segmenting import Ends
from netplayground.dump.appearing import appearing
from netplayground.dump.model import SIDES, Connection, Datagram, Endpoint, Event, EventKind
from netplayground.dump.recording import Recording
from netplayground.dump.soundness import Soundness
from netplayground.errors import PlaygroundError

DEFAULT_MTU = 1500
_RAW = 101
_SNAP = 262144
_SECOND = 1_000_000_000
_PCAP = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")
_PACKET = struct.Struct("<IIIIIII")

Events = Iterator[tuple[int, Event] | Datagram]
Progress = Callable[[int, int], None]
"""Is told how much is done, of how much."""


def _nobody(done: int, size: int) -> None:
    """Nobody asks how far it is."""


class _Meter:
    """How much of what is wanted has been said; progress is told."""

    def __init__(self, progress: Progress, size: int) -> None:
        self._progress = progress
        self._done, self._size = 0, size

    def add(self, octets: int) -> None:
        self._done += octets
        self._progress(self._done, self._size)


def export_capture(
    recording: Recording,
    path: Path,
    wanted: Collection[int] | None,
    mtu: int,
    progress: Progress = _nobody,
) -> int:
    """Write a pcap (of a name that ends so) or a pcapng file; give the number of packets."""
    form = _Pcap if path.suffix == ".pcap" else _Pcapng
    count = 0
    with appearing(path) as file:
        capture = form(file)
        for time_ns, packet in packets(recording, wanted, mtu, progress):
            capture.add(time_ns, packet)
            count += 1
    return count


def packets(
    recording: Recording, wanted: Collection[int] | None, mtu: int, progress: Progress = _nobody
) -> Iterator[tuple[int, bytes]]:
    """Give all packets of a recording, or those of some connections, with their times."""
    open_: dict[int, Ends] = {}
    soundness = Soundness(recording)
    for told in _events(recording, wanted, progress):
        if isinstance(told, Datagram):
            soundness.assure(told.packet_offset, told.packet_length)
            yield told.time_ns, recording.read(told.packet_offset, told.packet_length)
            continue
        identity, event = told
        ends = open_.get(identity)
        if ends is None:
            ends = open_[identity] = Ends(recording.connections[identity], mtu)
        soundness.assure(event.offset, event.length)
        for packet in ends.packets(event, recording.payload(event)):
            yield event.time_ns, packet
        if recording.connections[identity].closed_ns == event.time_ns and event.kind in _LAST:
            del open_[identity]


_LAST = frozenset(EventKind) - {EventKind.SYN, EventKind.ESTABLISHED, EventKind.CHUNK, EventKind.FIN}


def _events(recording: Recording, wanted: Collection[int] | None, progress: Progress) -> Events:
    """Give what is wanted in the order of the run; of one connection its index knows the places."""
    if wanted is not None and len(wanted) == 1:
        (identity,) = wanted
        meter = _Meter(progress, sum(recording.connections[identity].bytes))
        for event in recording.events(identity):
            meter.add(event.length)
            yield identity, event
        return
    size = recording.size
    for told in recording.in_order():
        progress(told.offset if isinstance(told, Datagram) else told[1].offset, size)
        if wanted is None or (not isinstance(told, Datagram) and told[0] in wanted):
            yield told


class _Pcap:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(_PCAP.pack(0xA1B23C4D, 2, 4, 0, 0, _SNAP, _RAW))

    def add(self, time_ns: int, packet: bytes) -> None:
        """Write one packet."""
        seconds, fraction = divmod(time_ns, _SECOND)
        size = len(packet)
        self._file.write(_RECORD.pack(seconds & 0xFFFFFFFF, fraction, size, size) + packet)


class _Pcapng:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        # Nanoseconds (draft-ietf-opsawg-pcapng, if_tsresol).
        resolution = struct.pack("<HHBxxxI", 9, 1, 9, 0)
        self._block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        self._block(1, struct.pack("<HHI", _RAW, 0, 0) + resolution)

    def _block(self, kind: int, body: bytes) -> None:
        length = 12 + len(body)
        self._file.write(struct.pack("<II", kind, length) + body + struct.pack("<I", length))

    def add(self, time_ns: int, packet: bytes) -> None:
        """Write one packet."""
        size = len(packet)
        padding = -size % 4
        length = 32 + size + padding
        head = _PACKET.pack(6, length, 0, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
        self._file.write(head + packet + bytes(padding) + length.to_bytes(4, "little"))


def export_streams(
    recording: Recording, folder: Path, wanted: Collection[int] | None, progress: Progress = _nobody
) -> int:
    """Write what each side of each connection said into a file of its own, named as tcpflow names them; give
    the number of files. Where that fails none of them stays."""
    used: dict[str, int] = {}
    soundness = Soundness(recording)
    written: list[Path] = []
    meter = _Meter(progress, sum(sum(connection.bytes) for connection in _connections(recording, wanted)))
    with _folder(folder, written):
        for connection in _connections(recording, wanted):
            for side, said in enumerate(connection.bytes):
                if said:
                    path = folder / _file_name(connection, side, used)
                    _write_stream(recording, soundness, connection, side, path, meter)
                    written.append(path)
    return len(written)


@contextmanager
def _folder(folder: Path, written: list[Path]) -> Iterator[None]:
    """A folder for files, which go when the block fails; so does it, if it was made for them."""
    is_new = not folder.is_dir()
    try:
        if is_new:
            folder.mkdir()
        try:
            yield
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
            raise
    except OSError as error:
        raise PlaygroundError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _connections(recording: Recording, wanted: Collection[int] | None) -> Iterator[Connection]:
    numbers = range(len(recording.connections)) if wanted is None else sorted(wanted)
    return (recording.connections[number] for number in numbers)


def _file_name(connection: Connection, side: int, used: dict[str, int]) -> str:
    ends = (connection.client, connection.server)
    name = f"{_flow_end(ends[side])}-{_flow_end(ends[1 - side])}"
    before = used.get(name, 0)
    used[name] = before + 1
    return f"{name}c{before}" if before else name


def _flow_end(end: Endpoint) -> str:
    if end.address.version == 4:
        return ".".join(f"{octet:03}" for octet in end.address.packed) + f".{end.port:05}"
    return f"{end.address.exploded}.{end.port:05}"


def _write_stream(
    recording: Recording,
    soundness: Soundness,
    connection: Connection,
    side: int,
    path: Path,
    meter: _Meter,
) -> None:
    with appearing(path) as file:
        for event in recording.events(connection.id):
            if event.kind is EventKind.CHUNK and event.side == side:
                meter.add(event.length)
                soundness.assure(event.offset, event.length)
                file.write(recording.payload(event))


def json_lines(
    recording: Recording, wanted: Collection[int] | None, progress: Progress = _nobody
) -> Iterator[str]:
    """Give a line for each chunk: whose it is, when it was said, and the bytes."""
    soundness = Soundness(recording)
    for told in _events(recording, wanted, progress):
        if isinstance(told, Datagram) or told[1].kind is not EventKind.CHUNK:
            continue
        identity, event = told
        soundness.assure(event.offset, event.length)
        yield json.dumps(
            {
                "connection": identity,
                "side": SIDES[event.side],
                "time_ns": event.time_ns,
                "length": event.length,
                "data": base64.b64encode(recording.payload(event)).decode(),
            }
        )
