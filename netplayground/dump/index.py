"""The index of a dump: what its pages, its directory and its footer hold, as octets.

While a run is recorded, the index stays small in memory however long the run lasts, because it goes into the
file in pages, each a custom block between the packets:

    event page        "plgE": for every event, in file order, whose it is and where its block begins; a
                      datagram is nobody's
    connection page   "plgC": one record of fixed length for each connection that has ended
    sum page          "plgS": CRC-32 of MiB after MiB of the file

and, at an orderly end, a tail:

    sum page          the last, so that the file up to here is covered
    directory         "plgD": where the pages are and what they span; more than one only in a giant dump
    footer            "plgF": totals, where the tail begins, where the directories are, CRC-32 of the tail

The CRC-32 of MiBs cover every octet before the tail, with the section header read as *complete*; the footer's
own covers the tail up to itself. The file's last four octets are the footer's length, as in every pcapng
block.
"""

from __future__ import annotations

import struct
import sys
from array import array
from dataclasses import dataclass

from netplayground.dump import blocks
from netplayground.dump.crc import crc32
from netplayground.dump.model import Ending
from netplayground.packet.checksum import Octets

WINDOW = 1 << 20
"""How much of the file one CRC-32 covers."""

NO_CONNECTION = 0x7FFFFFFF
"""In place of an event's connection id: a fact of the run, or, without FACT_BIT, a datagram."""
FACT_BIT = 0x80000000
"""Set in an event's connection id where the block is a fact, not a packet."""

EVENTS_MOST = 32768
EVENTS_SPAN = 1 << 31
"""Offsets in an event page are 32-bit and relative: a page ends before they do not fit."""
RECORDS_MOST = 8192
SUMS_MOST = 65536
ENTRIES_MOST = 65536

ENDINGS = tuple(Ending)
ENDING_CODE = {ending: code for code, ending in enumerate(ENDINGS)}

RECORD = struct.Struct(">IBBHHxx16s16s9Q")
"""Connection id, family, ending, ports, addresses (an IPv4 one in the first four of its 16 octets), then
opened, established, closed (0: never), bytes, chunks (client's, server's), first and last block."""
ENTRY = struct.Struct(">QI4sIIIIQQ")
_EVENT_HEAD = struct.Struct(">QII")
_FOOTER = struct.Struct(">9QI")
_LOCATION = struct.Struct(">QI")
_SWAP = sys.byteorder == "little"


@dataclass(frozen=True, slots=True)
class Entry:
    """One page in the directory: where, what, how much, and the span of what it holds.

    The span is that of file offsets in an event page, of connection ids in a connection page, of MiB numbers
    in a sum page. `facts` and `datagrams` count those among an event page's events that are such.
    """

    offset: int
    length: int
    what: bytes
    crc: int
    count: int
    facts: int
    datagrams: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Footer:
    """What an orderly end left at the very end of the file."""

    tail: int
    ended_ns: int
    connections: int
    events: int
    facts: int
    datagrams: int
    client_bytes: int
    server_bytes: int
    directories: tuple[tuple[int, int], ...]
    """Offset and length of each directory block."""


class EventLog:
    """The events that are not yet in a page: whose each is and where its block begins, relative to `base`."""

    __slots__ = ("base", "ids", "offsets")

    def __init__(self, base: int) -> None:
        self.base = base
        self.ids = array("I")
        self.offsets = array("I")

    def clear(self, base: int) -> None:
        """Begin the next page; the arrays stay the same objects, for the hot path keeps hold of them."""
        self.base = base
        del self.ids[:]
        del self.offsets[:]


def _swapped(words: array[int]) -> bytes:
    if not _SWAP:
        return words.tobytes()
    turned = array("I", words)
    turned.byteswap()
    return turned.tobytes()


def _words(data: Octets) -> array[int]:
    words = array("I")
    words.frombytes(data)
    if _SWAP:
        words.byteswap()
    return words


def emit_event_page(log: EventLog) -> bytes:
    """Give the page of the events in `log`."""
    head = _EVENT_HEAD.pack(log.base, len(log.ids), 0)
    return blocks.emit_custom(blocks.EVENT_PAGE, head + _swapped(log.ids) + _swapped(log.offsets))


def parse_event_page(body: Octets) -> tuple[int, array[int], array[int]]:
    """Give an event page's base, connection ids and relative offsets; ValueError if its sizes disagree."""
    if len(body) < _EVENT_HEAD.size:
        raise ValueError("event page without a head")
    base, count, _ = _EVENT_HEAD.unpack_from(body)
    if len(body) != _EVENT_HEAD.size + 8 * count:
        raise ValueError(f"event page of {count} events in {len(body)} octets")
    rest = memoryview(body)[_EVENT_HEAD.size :]
    return base, _words(rest[: 4 * count]), _words(rest[4 * count :])


def emit_sum_page(sums: array[int]) -> bytes:
    """Give the page of one CRC-32 a MiB."""
    return blocks.emit_custom(blocks.SUM_PAGE, _swapped(sums))


def parse_sum_page(body: Octets) -> array[int]:
    """Give the page's CRC-32s."""
    if len(body) % 4:
        raise ValueError(f"sum page of {len(body)} octets")
    return _words(body)


def emit_entry(entry: Entry) -> bytes:
    """Give one line of the directory."""
    counts = entry.count, entry.facts, entry.datagrams
    return ENTRY.pack(entry.offset, entry.length, entry.what, entry.crc, *counts, entry.first, entry.last)


def parse_directory(body: Octets) -> list[Entry]:
    """Give the lines of one directory block."""
    if len(body) % ENTRY.size:
        raise ValueError(f"directory of {len(body)} octets")
    return [Entry(*fields) for fields in ENTRY.iter_unpack(body)]


def emit_footer(footer: Footer, tail: bytes) -> bytes:
    """Give the footer's block; `tail` is what stands between the covered part of the file and the footer."""
    body = _FOOTER.pack(
        footer.tail,
        footer.ended_ns,
        footer.connections,
        footer.events,
        footer.facts,
        footer.datagrams,
        footer.client_bytes,
        footer.server_bytes,
        len(footer.directories),
        0,
    )[:-4]
    body += b"".join(_LOCATION.pack(*location) for location in footer.directories)
    body += bytes(-len(body) % 4)
    block = blocks.emit_custom(blocks.FOOTER, body + bytes(4))
    crc = crc32(block[:-8], crc32(tail))
    return block[:-8] + crc.to_bytes(4, "big") + block[-4:]


def parse_footer(body: Octets) -> Footer:
    """Read a footer's body; its CRC-32 is the caller's to compare, who has the tail."""
    size = _FOOTER.size - 4
    if len(body) < _FOOTER.size:
        raise ValueError(f"footer of {len(body)} octets")
    *numbers, count, _ = _FOOTER.unpack_from(body)
    if len(body) != size + count * _LOCATION.size + 4:
        raise ValueError(f"footer of {len(body)} octets with {count} directories")
    directories = tuple(_LOCATION.iter_unpack(memoryview(body)[size:-4]))
    tail, ended, connections, events, facts, datagrams, client, server = numbers
    return Footer(tail, ended, connections, events, facts, datagrams, client, server, directories)
