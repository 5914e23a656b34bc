"""A batch of packets as columns: times and TCP headers of all of them at once, with NumPy.

Only what is usual is decoded: a whole TCP segment in IPv4 without options or IPv6 without extension headers,
no fragment, behind at most two VLAN tags. All else is for the way packet by packet, which knows everything.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netplayground.capture.link import ETHERTYPE_V4, ETHERTYPE_V6, HEADERS, VLANS
from netplayground.capture.records import TIME_MOST, Batch, Interface
from netplayground.dump.bulk import places
from netplayground.packet import ip

Array = NDArray[Any]

_SECOND = 1_000_000_000
_SECONDS_MOST = TIME_MOST // _SECOND - 1
_V4_LEAST, _V6_LEAST = 40, 60
V4_WORDS, V6_WORDS = 3, 9
"""Two addresses and two ports in words of 32 bits."""
_BLOCK_KIND = 6
_VLANS = np.array(sorted(VLANS), np.uint16)
_MIX = np.frombuffer(os.urandom(64), np.uint64) | np.uint64(1 << 62 | 1)
"""Odd, and nobody knows them: who makes a capture cannot make its connections collide. (If some do, they are
told apart all the same, packet by packet.)"""


@dataclass(slots=True)
class Columns:
    """All packets of a batch; where `is_usual`, also what their segments say."""

    octets: Array
    time: Array
    link_type: Array
    data: Array
    end: Array
    is_usual: Array
    is_v4: Array
    ends: Array
    """Where the addresses begin, behind which are the ports."""
    words: Array
    """Addresses and ports, as 32-bit words: three of IPv4, filled up with zeros where IPv6 has been met."""
    hash: Array
    sequence: Array
    ack: Array
    flags: Array
    begin: Array
    length: Array


def gather(octets: Array, at: Array, width: int) -> Array:
    """Give `width` octets from each place on; near the end of all octets, others."""
    last = max(0, len(octets) - width)
    piece: Array = places(octets, width)[np.minimum(at, last)]
    return piece.view(np.uint8).reshape(len(at), width)


def decode(batch: Batch) -> Columns | None:
    """Give the columns of a batch, None where only the other way can say what it is."""
    octets = np.frombuffer(batch.buffer, np.uint8)
    heads = np.array(batch.heads, np.int64)
    records = _blocks(batch, octets, heads) if batch.layout.is_block else _records(batch, octets, heads)
    if records is None:
        return None
    time, captured, used, which = records
    data = heads + batch.layout.data
    links = np.array([interface.link_type for interface in used], np.int64)[which]
    columns = _empty(octets, time, links, data, data + captured)
    for link_type in {interface.link_type for interface in used} & HEADERS.keys():
        _decode_link(columns, link_type, np.flatnonzero(links == link_type))
    return columns


def _empty(octets: Array, time: Array, links: Array, data: Array, end: Array) -> Columns:
    count = len(time)
    numbers = [np.zeros(count, np.uint32) for _ in range(2)]
    return Columns(
        octets,
        time,
        links,
        data,
        end,
        is_usual=np.zeros(count, bool),
        is_v4=np.zeros(count, bool),
        ends=np.zeros(count, np.int64),
        words=np.zeros((count, V4_WORDS), np.uint32),
        hash=np.zeros(count, np.uint64),
        sequence=numbers[0],
        ack=numbers[1],
        flags=np.zeros(count, np.uint8),
        begin=np.zeros(count, np.int64),
        length=np.zeros(count, np.int64),
    )


Records = tuple[Array, Array, list[Interface], Array]
"""Of all packets: time, captured length; the interfaces that they are of, and which of these each is of."""


def _records(batch: Batch, octets: Array, heads: Array) -> Records:
    """Read the heads of pcap records."""
    interface = batch.interfaces[0]
    head = gather(octets, heads, 16).view(batch.layout.order + "u4").astype(np.int64)
    time = head[:, 0] * _SECOND + head[:, 1] * (_SECOND // interface.ticks)
    return time, head[:, 2], [interface], np.zeros(len(heads), np.int64)


def _blocks(batch: Batch, octets: Array, heads: Array) -> Records | None:
    """Read the heads of packet blocks."""
    order = batch.layout.order + "u4"
    head = gather(octets, heads, 28).view(order).astype(np.int64)
    size, which, captured = head[:, 1], head[:, 2], head[:, 5]
    trailer = gather(octets, heads + size - 4, 4).view(order)[:, 0]
    if (
        (head[:, 0] != _BLOCK_KIND).any()
        or (which >= len(batch.interfaces)).any()
        or (captured > size - 32).any()
        or (trailer != size).any()
    ):
        return None
    ticks = head[:, 3].astype(np.uint64) << np.uint64(32) | head[:, 4].astype(np.uint64)
    used, which = _used(batch, which)
    if len(used) == 1:
        return _times(ticks, used[0]), captured, used, which
    time = np.zeros(len(heads), np.int64)
    for number, interface in enumerate(used):
        rows = np.flatnonzero(which == number)
        time[rows] = _times(ticks[rows], interface)
    return time, captured, used, which


def _used(batch: Batch, which: Array) -> tuple[list[Interface], Array]:
    """Give the interfaces that packets are of, and of which of these each is: a section may have any number
    of others."""
    if len(batch.interfaces) == 1:
        return [batch.interfaces[0]], which
    numbers, place = np.unique(which, return_inverse=True)
    return [batch.interfaces[number] for number in numbers.tolist()], place


def _times(ticks: Array, interface: Interface) -> Array:
    """Give nanoseconds since the epoch; as `Interface.time_ns`."""
    if interface.ticks > 1 << 32 or abs(interface.offset_s) > _SECONDS_MOST:
        return np.array([interface.time_ns(each) for each in ticks.tolist()], np.int64)
    whole, part = np.divmod(ticks, np.uint64(interface.ticks))
    seconds = np.minimum(whole, np.uint64(_SECONDS_MOST)).astype(np.int64) + interface.offset_s
    fraction = part.astype(np.uint64) * np.uint64(_SECOND) // np.uint64(interface.ticks)
    time: Array = seconds * _SECOND + fraction.astype(np.int64)
    beyond = np.flatnonzero((whole > _SECONDS_MOST) | (seconds < 0) | (seconds > _SECONDS_MOST))
    for place in beyond.tolist():
        time[place] = interface.time_ns(int(ticks[place]))
    return time


def _decode_link(columns: Columns, link_type: int, rows: Array) -> None:
    header, place = HEADERS[link_type]
    at = columns.data[rows] + header
    octets = columns.octets
    if place is not None:
        kind = _kind(octets, columns.data[rows] + place)
        is_ip = _is_ip(kind)
        for _ in range(0 if is_ip.all() else 2):
            tagged = np.isin(kind, _VLANS)
            kind = np.where(tagged, _kind(octets, at + 2), kind)
            at = at + 4 * tagged
            is_ip = _is_ip(kind)
        rows, at = rows[is_ip], at[is_ip]
    room = columns.end[rows] - at
    first = octets[np.minimum(at, len(octets) - 1)]
    four = (first == 0x45) & (room >= _V4_LEAST)
    six = (first >> 4 == 6) & (room >= _V6_LEAST)
    if four.any():
        _decode_v4(columns, rows[four], at[four])
    if six.any():
        missing = V6_WORDS - columns.words.shape[1]
        columns.words = np.pad(columns.words, ((0, 0), (0, missing)))
        _decode_v6(columns, rows[six], at[six])


def _is_ip(kind: Array) -> Array:
    is_ip: Array = (kind == ETHERTYPE_V4) | (kind == ETHERTYPE_V6)
    return is_ip


def _kind(octets: Array, at: Array) -> Array:
    return gather(octets, at, 2).view(">u2")[:, 0].astype(np.uint16)


def _decode_v4(columns: Columns, rows: Array, at: Array) -> None:
    head = gather(columns.octets, at, _V4_LEAST)
    whole = _word(head, 2)
    is_tcp = (head[:, 9] == ip.TCP) & (head[:, 6] & 0x3F == 0) & (head[:, 7] == 0)
    is_fit = (whole <= columns.end[rows] - at) & is_tcp
    _decode_tcp(columns, rows, at, head, ip.IPV4_HEADER, whole, is_fit)


def _decode_v6(columns: Columns, rows: Array, at: Array) -> None:
    head = gather(columns.octets, at, _V6_LEAST)
    whole = _word(head, 4) + ip.IPV6_HEADER
    is_fit = (head[:, 6] == ip.TCP) & (whole > ip.IPV6_HEADER) & (whole <= columns.end[rows] - at)
    _decode_tcp(columns, rows, at, head, ip.IPV6_HEADER, whole, is_fit)


def _word(head: Array, at: int) -> Array:
    return head[:, at].astype(np.int64) << 8 | head[:, at + 1]


def _number(head: Array, at: int) -> Array:
    return np.ascontiguousarray(head[:, at : at + 4]).view(">u4")[:, 0].astype(np.uint32)


def _decode_tcp(
    columns: Columns, rows: Array, at: Array, head: Array, tcp: int, whole: Array, is_fit: Array
) -> None:
    header = (head[:, tcp + 12] >> 4).astype(np.int64) * 4
    usual = is_fit & (header >= 20) & (tcp + header <= whole)
    if not usual.all():
        rows, at, head, whole, header = rows[usual], at[usual], head[usual], whole[usual], header[usual]
    # Of all of them, in their order, no column need be scattered.
    to = slice(None) if len(rows) == len(columns.time) else rows
    is_v4 = tcp == ip.IPV4_HEADER
    addresses = tcp - 8 if is_v4 else tcp - 32
    words = np.ascontiguousarray(head[:, addresses : tcp + 4]).view(np.uint32)
    columns.is_usual[to] = True
    columns.is_v4[to] = is_v4
    columns.sequence[to] = _number(head, tcp + 4)
    columns.ack[to] = _number(head, tcp + 8)
    columns.flags[to] = head[:, tcp + 13]
    columns.begin[to] = at + tcp + header
    columns.length[to] = whole - tcp - header
    columns.ends[to] = at + addresses
    columns.words[to, : words.shape[1]] = words
    columns.hash[to] = hash_keys(words)


def hash_keys(words: Array) -> Array:
    """Mix the words of addresses and ports into one number."""
    mixed = np.zeros(len(words), np.uint64)
    for column in range(words.shape[1]):
        mixed = (mixed ^ words[:, column]) * _MIX[column % len(_MIX)]
        mixed ^= mixed >> np.uint64(29)
    return mixed
