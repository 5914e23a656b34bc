"""Connections that cannot be ordinary in a batch, because a packet of theirs goes the other way.

A segment behind IP options, cut off by a snap length, in fragments: the reassembler takes it, and must know
all of its connection then. So it is found out first, before anything of the batch is taken.
"""

from __future__ import annotations

import numpy as np

from netplayground.capture.columns import Columns
from netplayground.capture.link import HEADERS, find_ip
from netplayground.capture.network import parse_network, turned
from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import Octets

_PORTS = 4


def find_strange(columns: Columns) -> frozenset[bytes]:
    """Give the keys of such connections, both ways round; of fragments, which have no ports, the addresses
    alone."""
    found = set[bytes]()
    buffer = columns.octets.data
    rows = np.flatnonzero(~columns.is_usual)
    places = (columns.link_type[rows], columns.data[rows], columns.end[rows])
    for link_type, begin, end in zip(*(place.tolist() for place in places), strict=True):
        if link_type in HEADERS and (at := find_ip(link_type, buffer, begin, end)) >= 0:
            found.add(_key(buffer, at, end))
    found.discard(b"")
    return frozenset(found | {_turned(key) for key in found})


def is_strange(key: bytes, strange: frozenset[bytes]) -> bool:
    """Say whether a connection's key is one of those that were found."""
    return key in strange or key[:-_PORTS] in strange


def _key(buffer: Octets, begin: int, end: int) -> bytes:
    """Give what a packet says of its connection; nothing if it is none of TCP's."""
    try:
        network = parse_network(buffer, begin, end)
    except MalformedPacket:
        return b""
    if network.protocol != ip.TCP:
        return b""
    if network.offset >= 0:
        return network.addresses
    if network.begin + _PORTS > network.end:
        return b""
    return network.addresses + bytes(buffer[network.begin : network.begin + _PORTS])


def _turned(key: bytes) -> bytes:
    return turned(key) if len(key) % 8 else turned(key + bytes(_PORTS))[:-_PORTS]
