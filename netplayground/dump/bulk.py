"""The segments of many connections packed at once: for who has so many that one call each would be too slow.

`ConnectionWriter.chunk` says what such a block looks like; this packs the same, a column at a time, with
NumPy. Only a capture is read so, and NumPy is asked for only there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netplayground.dump import segments
from netplayground.dump.blocks import PACKET, PACKET_HEADER
from netplayground.dump.index import RECORD
from netplayground.packet import ip

Array = NDArray[Any]

_V4 = np.dtype(
    [
        *((name, ">u4") for name in ("kind", "block", "interface")),
        ("time", ">u8"),
        *((name, ">u4") for name in ("captured", "original")),
        *((name, ">u2") for name in ("first", "size", "id", "fragment", "protocol", "check")),
        ("ends", "V12"),
        *((name, ">u4") for name in ("sequence", "ack")),
        ("tail", ">u8"),
    ]
)
_V6 = np.dtype(
    [
        *((name, ">u4") for name in ("kind", "block", "interface")),
        ("time", ">u8"),
        *((name, ">u4") for name in ("captured", "original", "first")),
        *((name, ">u2") for name in ("size", "protocol")),
        ("ends", "V36"),
        *((name, ">u4") for name in ("sequence", "ack")),
        ("tail", ">u8"),
    ]
)
assert _V4.itemsize == segments.V4.size and _V6.itemsize == segments.V6.size
_OPTIONS = np.frombuffer(segments.SYN_OPTIONS, f"V{len(segments.SYN_OPTIONS)}")
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
_LOOP_MOST = 12
"""So many payloads of one length are copied one by one sooner than by a call of NumPy's."""
_PIECE = 1 << 18
"""So much is copied at once: what is gathered is scattered while it is still in the processor's cache."""


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


def pack(blocks: Blocks, octets: Array, room: bytearray) -> tuple[Array, Array]:
    """Give the packet blocks of segments whose payload lies in `octets`, and where each block begins.

    The last of these places is where the next block would begin. The blocks are in `room`, which grows.
    """
    headers = np.where(blocks.is_v4, segments.V4.size, segments.V6.size)
    is_opening = (blocks.tail == segments.SYN) | (blocks.tail == segments.SYN_ACK)
    options = is_opening * len(segments.SYN_OPTIONS)
    sizes = headers + (blocks.length + options + 3 & ~3) + 4
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    if len(room) < starts[-1]:
        room.extend(bytes(int(starts[-1]) - len(room)))
    packed = np.frombuffer(room, np.uint8)[: starts[-1]]
    for layout, rows in ((_V4, np.flatnonzero(blocks.is_v4)), (_V6, np.flatnonzero(~blocks.is_v4))):
        if len(rows):
            head = _headers(layout, blocks, rows, sizes[rows], options[rows], octets)
            places(packed, layout.itemsize)[starts[rows]] = head.view(f"V{layout.itemsize}")
    # The padding; where there is none, the payload comes over it.
    places(packed, 4)[starts[1:] - 8] = np.zeros(1, "V4")
    places(packed, 4)[starts[1:] - 4] = sizes.astype(">u4").view("V4")
    copy(octets, blocks.begin, packed, starts[:-1] + headers, blocks.length)
    opening = np.flatnonzero(is_opening)
    places(packed, len(segments.SYN_OPTIONS))[starts[opening] + headers[opening]] = _OPTIONS
    return packed, starts


def _headers(
    layout: np.dtype[Any], blocks: Blocks, rows: Array, sizes: Array, options: Array, octets: Array
) -> Array:
    head = np.zeros(len(rows), layout)
    length = blocks.length[rows] + options
    head["kind"], head["block"], head["time"] = PACKET, sizes, blocks.time[rows]
    if layout is _V4:
        whole = length + segments.V4_HEADERS
        head["first"], head["size"], head["id"] = 0x4500, whole, blocks.identity[rows] & segments.V4_ID_MASK
        head["fragment"], head["protocol"] = 0x4000, ip.HOP_LIMIT << 8 | ip.TCP
        total = blocks.sum[rows] + whole
        head["check"] = 65535 - (total & 65535) - (total >> 16)
    else:
        whole = length + segments.V6_HEADERS
        head["first"], head["size"] = blocks.sum[rows], whole - ip.IPV6_HEADER
        head["protocol"] = ip.TCP << 8 | ip.HOP_LIMIT
    head["captured"] = head["original"] = whole
    head["ends"] = places(octets, layout["ends"].itemsize)[blocks.ends[rows]]
    head["sequence"], head["ack"], head["tail"] = blocks.sequence[rows], blocks.ack[rows], blocks.tail[rows]
    return head


def places(octets: Array, width: int) -> Array:
    """Give `octets` as an array of the `width` octets that begin at each place."""
    count = max(0, len(octets) - width + 1)
    each: Array = np.ndarray((count,), f"V{width}", buffer=octets, strides=(1,))
    return each


def copy(source: Array, begin: Array, target: Array, to: Array, length: Array) -> None:
    """Copy many pieces: all of one length at a time."""
    order = np.argsort(length.astype(np.uint16), kind="stable")
    ordered = length[order]
    cuts = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(ordered)]
    for low, high in pairwise(cuts):
        width = int(ordered[low]) if high > low else 0
        if not width:
            continue
        rows = order[low:high]
        if high - low > _LOOP_MOST:
            step = max(_LOOP_MOST, _PIECE // width)
            origin, goal = places(source, width), places(target, width)
            for at in range(0, high - low, step):
                some = rows[at : at + step]
                goal[to[some]] = origin[begin[some]]
            continue
        for at, place in zip(begin[rows].tolist(), to[rows].tolist(), strict=True):
            target[place : place + width] = source[at : at + width]


assert PACKET_HEADER == 28
