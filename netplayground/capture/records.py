"""Captures as batches of packets: pcap (both orders, µs, ns, modified) and pcapng (draft-ietf-opsawg-pcapng).

A batch is a piece of the file in memory and where in it each packet's record begins; what a record says is
read where it is needed, packet by packet or, with NumPy, for all of them at once. A batch is good until the
fourth after it, which uses the same memory. It has one layout and one list of interfaces: where these change,
a new one begins.

A file that ends within a record is used as far as it goes: `cut` says how many octets were left over. A
length that cannot be is damage: whoever reads on from there would read anything.
"""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path

from netplayground.capture.octets import Octets, open_octets
from netplayground.errors import CaptureError

BATCH = 8 << 20
"""What is in memory at once. Never more packet data than TCP may leave unacknowledged in a dump."""
BATCHES = 4
"""Three of them may be in use while the next is read (`ahead`, `apart`)."""
_BATCH_LEAST = 1 << 16
PACKETS_MOST = 3 << 13
"""… and no more packets than this: in the worst case each is a connection of its own."""
BLOCK_MOST = 16 << 20
BUFFER = BLOCK_MOST + 64
"""A block, or a record with its head, fits in where it must."""
RECORD_MOST = 1 << 18
"""libpcap's MAXIMUM_SNAPLEN: no program writes longer packets of a kind that holds IP."""
TIME_MOST = (1 << 63) - 1
PLACES = "q"
"""The kind of array that places in a buffer are."""

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_MAGIC = 0x1A2B3C4D
_PCAP_HEAD = 24
_RECORD_HEAD = 16
_MODIFIED_RECORD_HEAD = 24
"""As of Kuznetzov's patched libpcap: interface, protocol and kind of packet come after the usual numbers."""
_PCAP = {
    0xA1B2C3D4: (1_000_000, _RECORD_HEAD),
    0xA1B23C4D: (1_000_000_000, _RECORD_HEAD),
    0xA1B2CD34: (1_000_000, _MODIFIED_RECORD_HEAD),
}
_BLOCK_LEAST = 12
_PACKET_LEAST = 32
_SIMPLE_MOST = 1 << 10
"""Simple packets that are written anew at once."""
_NAME, _RESOLUTION, _OFFSET = 2, 9, 14
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were captured: the kind of their first header, ticks a second, seconds added to each
    time."""

    link_type: int
    ticks: int = 1_000_000
    offset_s: int = 0
    snap: int = 0

    def time_ns(self, ticks: int) -> int:
        """Give nanoseconds since the epoch; a time that cannot be becomes the nearest that can."""
        whole, part = divmod(ticks, self.ticks)
        return min(max(0, (whole + self.offset_s) * _SECOND + part * _SECOND // self.ticks), TIME_MOST)


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The first `count` interfaces of a section, to which more may be added: there may be any number."""

    known: list[Interface]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Interface:
        return self.known[number]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a record looks like: byte order, and where in it the numbers and the packet are."""

    order: str
    is_block: bool
    captured: int
    data: int


Allocate = Callable[[int], memoryview]
"""Gives memory of a length."""
Packet = tuple[Interface, int, int, int, int]
"""Interface, time in ns, where in the buffer the packet begins and ends, octets that were not captured."""


@dataclass(slots=True)
class Batch:
    """Packets that are in memory: `heads` says where in `buffer` their records begin."""

    path: Path
    buffer: memoryview
    heads: array[int]
    layout: Layout
    interfaces: Interfaces
    base: int
    """Where in the capture the buffer begins."""

    def packets(self) -> Iterator[Packet]:
        """Give the packets one by one."""
        return self._of_blocks() if self.layout.is_block else self._of_records()

    def damaged(self, head: int, what: str) -> CaptureError:
        """Give the error that the record at `head` is."""
        return damaged(self.path, self.base + head, what)

    def _of_records(self) -> Iterator[Packet]:
        interface = self.interfaces[0]
        read = struct.Struct(self.layout.order + "IIII").unpack_from
        buffer, ticks, times = self.buffer, interface.ticks, _SECOND // interface.ticks
        place = self.layout.data
        for head in self.heads:
            seconds, fraction, captured, length = read(buffer, head)
            if fraction < ticks:
                time_ns = seconds * _SECOND + fraction * times
            else:
                time_ns = interface.time_ns(seconds * ticks + fraction)
            begin = head + place
            yield interface, time_ns, begin, begin + captured, max(0, length - captured)

    def _of_blocks(self) -> Iterator[Packet]:
        order, buffer, interfaces = self.layout.order, self.buffer, self.interfaces
        read = struct.Struct(order + "IIIIIII").unpack_from
        last = struct.Struct(order + "I").unpack_from
        for head in self.heads:
            kind, size, which, high, low, captured, length = read(buffer, head)
            if kind == _OLD_PACKET:
                which = which >> 16 if order == ">" else which & 0xFFFF
            if last(buffer, head + size - 4)[0] != size:
                raise self.damaged(head, "a block that ends with another length than it begins with")
            if captured > size - _PACKET_LEAST:
                raise self.damaged(head, f"a packet of {captured} octets in a block of {size}")
            if which >= len(interfaces):
                raise self.damaged(head, f"a packet of interface {which} of {len(interfaces)}")
            interface = interfaces[which]
            begin = head + 28
            time_ns = interface.time_ns(high << 32 | low)
            yield interface, time_ns, begin, begin + captured, max(0, length - captured)


def allocate(length: int) -> memoryview:
    """Give memory of which only what is used is there."""
    return memoryview(mmap(-1, length, flags=MAP_PRIVATE | MAP_ANONYMOUS))


def emit_packet(order: str, interface: int, ticks: int, data: memoryview, original: int) -> bytes:
    """Give a packet block, of a packet of `original` octets of which `data` was captured."""
    size = _PACKET_LEAST + (len(data) + 3 & ~3)
    head = struct.pack(
        order + "7I", _PACKET, size, interface, ticks >> 32, ticks & 0xFFFFFFFF, len(data), original
    )
    return b"".join((head, data, bytes(-len(data) % 4), struct.pack(order + "I", size)))


def block_layout(order: str) -> Layout:
    """Say what packet blocks look like."""
    return Layout(order, True, 20, 28)


def damaged(path: Path, offset: int, what: str) -> CaptureError:
    """Give the error that says where a capture is not one any more."""
    return CaptureError(f"cannot read {path}: {what}, at byte {offset}")


class Records:
    """One capture that is being read; it must be closed."""

    def __init__(self, path: Path, batch: int = BATCH, *, allocate: Allocate = allocate) -> None:
        self.path = path
        self.cut = 0
        self._octets: Octets = open_octets(path)
        if self._octets.size and not self._octets.is_packed:
            batch = min(batch, max(self._octets.size, _BATCH_LEAST))
        self._batch = batch
        self._buffers = [allocate(max(batch, BUFFER)) for _ in range(BATCHES)]
        self._buffer = self._buffers[0]
        self._base = self._at = self._end = 0
        self._is_given = False  # a batch of this buffer may be in use
        self._is_over = False
        self._order = "<"
        self._interfaces: list[Interface] = []

    def close(self) -> None:
        """Close the file."""
        self._octets.close()

    @property
    def position(self) -> int:
        """How much of the file has been read."""
        return self._octets.position

    @property
    def size(self) -> int:
        """How long the file is, 0 where nobody knows."""
        return self._octets.size

    def batches(self) -> Iterator[Batch]:
        """Give the packets of the file, batch by batch; each is good until the next."""
        if not self._has(4):
            raise CaptureError(f"cannot read {self.path}: {self._short()}")
        magic = bytes(self._buffer[:4])
        for order in "<>":
            number = struct.unpack(order + "I", magic)[0]
            if number in _PCAP:
                yield from self._pcap(order, *_PCAP[number])
                return
            if number == _SECTION:
                yield from self._pcapng()
                return
        raise CaptureError(f"cannot read {self.path}: neither a pcap nor a pcapng file")

    def _short(self) -> str:
        return "the file is empty" if not self._end else f"cut off at byte {self._end}, nothing whole is left"

    def _has(self, length: int) -> bool:
        """Make sure that so many octets are there from where we stand; False at the end of the file."""
        if self._end - self._at >= length:
            return True
        if self._is_over:
            return False
        rest = self._end - self._at
        if self._is_given:
            self._is_given = False
            self._buffers = self._buffers[1:] + self._buffers[:1]
        buffer = self._buffers[0][: max(self._batch, length)]
        # It may be the same one: memoryviews copy as memmove(3) does.
        buffer[:rest] = self._buffer[self._at : self._end]
        self._buffer = buffer
        self._base += self._at
        got = self._octets.read_into(buffer[rest:])
        self._is_over = rest + got < len(buffer)
        self._at, self._end = 0, rest + got
        return self._end >= length

    def _cut(self, heads: array[int], layout: Layout, interfaces: Interfaces) -> Iterator[Batch]:
        """Give batches of no more packets than may be worked at at once."""
        self._is_given = True
        for begin in range(0, len(heads), PACKETS_MOST):
            some = heads[begin : begin + PACKETS_MOST]
            yield Batch(self.path, self._buffer, some, layout, interfaces, self._base)

    def _finish(self) -> None:
        """The file is over: what is left is less than a record."""
        self.cut = self._end - self._at
        if self._octets.is_cut:
            self.cut = max(1, self.cut)

    # -- pcap --------------------------------------------------------------------------------------

    def _pcap(self, order: str, ticks: int, record_head: int) -> Iterator[Batch]:
        if not self._has(_PCAP_HEAD):
            raise CaptureError(f"cannot read {self.path}: {self._short()}")
        snap, network = struct.unpack_from(order + "II", self._buffer, 16)
        # The upper half says things of the link's checksum (draft-ietf-opsawg-pcap, 4).
        interfaces = Interfaces([Interface(network & 0xFFFF, ticks, 0, snap)], 1)
        layout = Layout(order, False, 8, record_head)
        self._at += _PCAP_HEAD
        while self._has(record_head):
            heads = self._scan_records(layout, max(RECORD_MOST, min(snap, BLOCK_MOST)))
            if heads:
                yield from self._cut(heads, layout, interfaces)
            elif not self._has(self._record_length(layout)):
                break
        self._finish()

    def _record_length(self, layout: Layout) -> int:
        length: int = struct.unpack_from(layout.order + "I", self._buffer, self._at + layout.captured)[0]
        return layout.data + length

    def _scan_records(self, layout: Layout, most: int) -> array[int]:
        """Step from record to record as far as they are whole."""
        heads = array(PLACES)
        note, whole = heads.append, self._buffer[: self._end]
        head = layout.data
        read = struct.Struct(f"{layout.order}8xI{head - 12}x").unpack_from
        at, length = self._at, 0
        # The cheapest way to see the end is to read beyond it: this is done once for each packet.
        with contextlib.suppress(struct.error):
            while True:
                (length,) = read(whole, at)
                if length > most:
                    break
                note(at)
                at += head + length
        if at > self._end:
            at = heads.pop()
        elif length > most and not heads:
            raise damaged(self.path, self._base + at, f"a record of {length} octets")
        self._at = at
        return heads

    # -- pcapng ------------------------------------------------------------------------------------

    def _pcapng(self) -> Iterator[Batch]:
        while self._has(_BLOCK_LEAST):
            heads = self._scan_blocks()
            if heads:
                yield from self._cut(heads, *self._as_blocks())
                continue
            kind, length = self._head()
            if not self._has(length):
                break
            if kind in (_PACKET, _OLD_PACKET) and length >= _PACKET_LEAST:
                continue
            if kind == _SIMPLE:
                yield self._simples()
            else:
                self._take(kind, length)
        self._finish()

    def _as_blocks(self) -> tuple[Layout, Interfaces]:
        """Say what packet blocks look like here, and of which interfaces they may be."""
        return block_layout(self._order), Interfaces(self._interfaces, len(self._interfaces))

    def _head(self) -> tuple[int, int]:
        """Read kind and length of the block where we stand; a section header says how to read it."""
        if bytes(self._buffer[self._at : self._at + 4]) == b"\n\r\r\n":
            magic = self._buffer[self._at + 8 : self._at + 12]
            if magic not in (_MAGIC.to_bytes(4, "little"), _MAGIC.to_bytes(4, "big")):
                raise self._damaged("a section header that is none")
            self._order = "<" if magic[0] == _MAGIC & 0xFF else ">"
        kind, length = struct.unpack_from(self._order + "II", self._buffer, self._at)
        if length < _BLOCK_LEAST or length % 4 or length > BLOCK_MOST:
            raise self._damaged(f"a block of {length} octets")
        return kind, length

    def _damaged(self, what: str) -> CaptureError:
        return damaged(self.path, self._base + self._at, what)

    def _scan_blocks(self) -> array[int]:
        """Step from packet block to packet block as far as they are whole; stop at any other."""
        heads = array(PLACES)
        note, buffer, end = heads.append, self._buffer, self._end
        read = struct.Struct(self._order + "II").unpack_from
        at = self._at
        while at + _PACKET_LEAST <= end:
            kind, length = read(buffer, at)
            if kind != _PACKET and kind != _OLD_PACKET:
                break
            if length < _PACKET_LEAST or length & 3 or at + length > end:
                break
            note(at)
            at += length
        self._at = at
        return heads

    def _take(self, kind: int, length: int) -> None:
        """Take a block that is no packet of the usual kind."""
        block = bytes(self._buffer[self._at : self._at + length])
        if int.from_bytes(block[-4:], "little" if self._order == "<" else "big") != length:
            raise self._damaged("a block that ends with another length than it begins with")
        if kind == _SECTION:
            self._take_section(block)
        elif kind == _INTERFACE:
            self._interfaces.append(self._interface(block))
        elif kind in (_PACKET, _OLD_PACKET):
            raise self._damaged(f"a packet block of {length} octets")
        self._at += length

    def _take_section(self, block: bytes) -> None:
        if len(block) < 28:
            raise self._damaged("a section header that is none")
        major = struct.unpack_from(self._order + "H", block, 12)[0]
        if major != 1:
            raise self._damaged(f"pcapng of version {major}")
        self._interfaces = []  # batches of the section before may still be in use

    def _interface(self, block: bytes) -> Interface:
        if len(block) < 20:
            raise self._damaged("an interface block that is too short")
        link_type, _reserved, snap = struct.unpack_from(self._order + "HHI", block, 8)
        ticks, offset = 1_000_000, 0
        at, end = 16, len(block) - 4
        while at + 4 <= end:
            code, length = struct.unpack_from(self._order + "HH", block, at)
            value = block[at + 4 : min(at + 4 + length, end)]
            if code == 0:
                break
            if code == _RESOLUTION and len(value) == 1:
                ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == _OFFSET and len(value) == 8:
                offset = struct.unpack(self._order + "q", value)[0]
            at += 4 + (length + 3 & ~3)
        if ticks > 1 << 63:
            raise self._damaged(f"an interface with {ticks} ticks a second")
        return Interface(link_type, ticks, offset, snap)

    def _simples(self) -> Batch:
        """Give simple packet blocks, which have neither interface nor time, as a batch of their own.

        They are written anew as packet blocks: of the first interface, at the last time that was seen.
        """
        base, written, heads = self._base + self._at, bytearray(), array(PLACES)
        layout, interfaces = self._as_blocks()  # a section behind them may have another order
        while self._end - self._at >= _BLOCK_LEAST and len(heads) < _SIMPLE_MOST:
            try:
                kind, length = self._head()
                if kind != _SIMPLE or length > self._end - self._at:
                    break
                block = self._simple(length)
                self._take(kind, length)
            except CaptureError:
                # What is good before it comes first.
                if heads:
                    break
                raise
            heads.append(len(written))
            written += block
        return Batch(self.path, memoryview(written), heads, layout, interfaces, base)

    def _simple(self, length: int) -> bytes:
        """Give a simple packet block as a packet block."""
        if not self._interfaces or length < 16:
            raise self._damaged("a simple packet without an interface")
        original = struct.unpack_from(self._order + "I", self._buffer, self._at + 8)[0]
        snap = self._interfaces[0].snap or original
        begin = self._at + 12
        data = self._buffer[begin : begin + min(original, snap, length - 16)]
        return emit_packet(self._order, 0, 0, data, original)
