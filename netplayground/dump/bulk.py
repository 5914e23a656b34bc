"""The segments of many connections packed at once: for who has so many that one call each would be too slow.

`ConnectionWriter.chunk` says what such a block looks like; this packs the same, a column at a time, with
NumPy. Only a capture is read so, and NumPy is asked for only there.

The payload is not touched: the kernel gathers it from where it was read to (iovecs of writev(2), two for each
block). What is made here are *rows* of one width, one for each block and one behind the last:

    padding and length of the block before | headers of this block | unused

so that the first iovec of a block is the end of the block before it and its own headers, the second one its
payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netplayground.dump import segments, vectors
from netplayground.dump.blocks import PACKET, PACKET_HEADER
from netplayground.dump.index import RECORD, EventLog
from netplayground.packet import ip

Array = NDArray[Any]

_BEFORE = 8
_ROW = _BEFORE + segments.V6.size
_V4 = np.dtype(
    [
        *((name, ">u4") for name in ("padding", "before", "kind", "block", "interface")),
        ("time", ">u8"),
        *((name, ">u4") for name in ("captured", "original")),
        *((name, ">u2") for name in ("first", "size", "id", "fragment", "protocol", "check")),
        ("ends", "V12"),
        *((name, ">u4") for name in ("sequence", "ack")),
        ("tail", ">u8"),
        ("unused", f"V{segments.V6.size - segments.V4.size}"),
    ]
)
_V6 = np.dtype(
    [
        *((name, ">u4") for name in ("padding", "before", "kind", "block", "interface")),
        ("time", ">u8"),
        *((name, ">u4") for name in ("captured", "original", "first")),
        *((name, ">u2") for name in ("size", "protocol")),
        ("ends", "V36"),
        *((name, ">u4") for name in ("sequence", "ack")),
        ("tail", ">u8"),
    ]
)
assert _V4.itemsize == _V6.itemsize == _ROW and PACKET_HEADER == 28
_OPTIONS = np.frombuffer(segments.SYN_OPTIONS, np.uint8)
RECORDS = np.dtype(
    [
        ("id", ">u4"),
        *((name, "u1") for name in ("family", "ending")),
        *((name, ">u2") for name in ("client_port", "server_port", "padding")),
        *((name, "V16") for name in ("client", "server")),
        *((name, ">u8") for name in ("opened", "established", "closed")),
        *((name, ">u8", 2) for name in ("said", "chunks")),
        *((name, ">u8") for name in ("first", "last")),
    ]
)
"""The index's records of many connections (see `index`)."""
assert RECORDS.itemsize == RECORD.size


@dataclass(frozen=True, slots=True)
class Blocks:
    """Segments in the order of the file: columns of equal length."""

    time: Array
    is_v4: Array
    identity: Array
    sum: Array
    """What `ConnectionWriter.constants` says."""
    ends: Array
    """Addresses and ports as in a packet, from `ends_at` on in the octets that hold the payload too."""
    sequence: Array
    ack: Array
    begin: Array
    length: Array
    tail: Array
    """The TCP header from its flags on: one of the constants of `segments`."""
    is_event: Array
    """Whether the index names the block."""


class Pieces:
    """Packet blocks, of which a file is made by `DumpWriter.span`.

    `starts` says where each begins, counted from the first; its last is where the next would begin. `headers`
    is how far in a block its payload begins.
    """

    def __init__(self, blocks: Blocks, octets: Array, room: bytearray) -> None:
        """The payload lies in `octets`; the rows come into `room`, which grows. Both are good until all is
        written."""
        count = len(blocks.time)
        is_opening = (blocks.tail == segments.SYN) | (blocks.tail == segments.SYN_ACK)
        behind = np.where(is_opening, len(_OPTIONS), blocks.length)
        self.headers = np.where(blocks.is_v4, segments.V4.size, segments.V6.size)
        sizes = self.headers + (behind + 3 & ~3) + 4
        self.starts = np.zeros(count + 1, np.int64)
        np.cumsum(sizes, out=self.starts[1:])
        if len(room) < (count + 1) * _ROW:
            room.extend(bytes((count + 1) * _ROW - len(room)))
        self._rows = np.frombuffer(room, f"V{_ROW}", count + 1)
        self._fill(blocks, sizes, behind, octets)
        self._octets = octets
        self._tails = (-behind & 3) + 4
        self._vectors = self._find(blocks.begin, behind, is_opening)
        self._events = np.append(0, np.cumsum(blocks.is_event))
        self._ids = blocks.identity[blocks.is_event].astype(np.uint32)
        self._event_starts = self.starts[:-1][blocks.is_event]

    def _fill(self, blocks: Blocks, sizes: Array, behind: Array, octets: Array) -> None:
        """Make the rows."""
        if blocks.is_v4.all():
            _enter_v4(self._rows[:-1].view(_V4), blocks, slice(None), behind, octets)
        else:
            for layout, enter, is_its in ((_V4, _enter_v4, blocks.is_v4), (_V6, _enter_v6, ~blocks.is_v4)):
                which = np.flatnonzero(is_its)
                table = np.zeros(len(which), layout)
                enter(table, blocks, which, behind[which], octets)
                self._rows[which] = table.view(self._rows.dtype)
        head = self._rows.view(_V4)
        head["padding"], head["before"][1:], head["block"][:-1] = 0, sizes, sizes

    def _find(self, begin: Array, behind: Array, is_opening: Array) -> Array:
        """Give the iovecs, two for each row: address and length."""
        table = np.zeros((len(self._rows), 2, 2), np.uintp)
        tails, rows = np.append(4, self._tails), np.arange(len(self._rows)) * _ROW
        table[:, 0, 0] = _address(self._rows) + rows + _BEFORE - tails
        table[:, 0, 1] = np.append(self.headers, 0) + tails
        table[:-1, 1, 0] = np.where(is_opening, _address(_OPTIONS), _address(self._octets) + begin)
        table[:-1, 1, 1] = behind
        return table

    def size(self, first: int, last: int) -> int:
        """Give the length of the blocks from `first` to before `last`."""
        return int(self.starts[last] - self.starts[first])

    def log(self, log: EventLog, first: int, last: int, position: int) -> None:
        """Note the events among some blocks, the first of which begins at `position` in the file."""
        low, high = self._events[first], self._events[last]
        log.ids.frombytes(self._ids[low:high].tobytes())
        offsets = self._event_starts[low:high] + (position - log.base - self.starts[first])
        log.offsets.frombytes(offsets.astype(np.uint32).tobytes())

    def join(self, first: int, last: int) -> bytes:
        """Give some blocks as they stand in the file."""
        return vectors.join(*self.vectors(first, last))

    def vectors(self, first: int, last: int) -> tuple[int, int]:
        """Give the address of the iovecs of some blocks, and how many they are: good until this is asked
        again."""
        table = self._vectors
        # The end of the block before the first is in the file; that of the last comes along.
        table[first, 0] = _address(self._rows) + first * _ROW + _BEFORE, self.headers[first]
        table[last, 0, 1] = self._tails[last - 1]
        return _address(table) + first * table.strides[0], 2 * (last - first) + 1


def _enter_v4(rows: Array, blocks: Blocks, which: Array | slice, behind: Array, octets: Array) -> None:
    whole = behind + segments.V4_HEADERS
    total = blocks.sum[which] + whole
    rows["kind"], rows["interface"], rows["time"] = PACKET, 0, blocks.time[which]
    rows["captured"] = rows["original"] = rows["size"] = whole
    rows["first"], rows["id"] = 0x4500, blocks.identity[which] & segments.V4_ID_MASK
    rows["fragment"], rows["protocol"] = 0x4000, ip.HOP_LIMIT << 8 | ip.TCP
    rows["check"] = 65535 - (total & 65535) - (total >> 16)
    _enter_tcp(rows, blocks, which, octets)


def _enter_v6(rows: Array, blocks: Blocks, which: Array | slice, behind: Array, octets: Array) -> None:
    whole = behind + segments.V6_HEADERS
    rows["kind"], rows["interface"], rows["time"] = PACKET, 0, blocks.time[which]
    rows["captured"] = rows["original"] = whole
    rows["first"], rows["size"] = blocks.sum[which], whole - ip.IPV6_HEADER
    rows["protocol"] = ip.TCP << 8 | ip.HOP_LIMIT
    _enter_tcp(rows, blocks, which, octets)


def _enter_tcp(rows: Array, blocks: Blocks, which: Array | slice, octets: Array) -> None:
    rows["ends"] = places(octets, rows.dtype["ends"].itemsize)[blocks.ends[which]]
    rows["sequence"], rows["ack"] = blocks.sequence[which], blocks.ack[which]
    rows["tail"] = blocks.tail[which]


def places(octets: Array, width: int) -> Array:
    """Give `octets` as an array of the `width` octets that begin at each place."""
    count = max(0, len(octets) - width + 1)
    each: Array = np.ndarray((count,), f"V{width}", buffer=octets, strides=(1,))
    return each


def _address(octets: Array) -> int:
    address: int = octets.__array_interface__["data"][0]
    return address
