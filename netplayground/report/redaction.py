"""A dump without its secrets: what a pattern matches is replaced by as many octets of one kind.

Nothing moves: the copy has every block where the dump has it, so its index stays right. A pattern is searched
in each direction of each connection as one stream, and in the payload of each datagram, from the left, each
by itself: a byte that any of them covers is replaced. The commands of the run are treated alike, by whole
characters. What was replaced is told by facts at the end, for replays.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from netplayground.dump import blocks
from netplayground.dump.check import check_dump
from netplayground.dump.model import Datagram, EventKind, Process, State
from netplayground.dump.reader import Dump, open_dump
from netplayground.dump.taking_up import copy_whole, take_up
from netplayground.errors import DumpError
from netplayground.packet import ip
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum
from netplayground.packet.quote import parse_quote
from netplayground.replay.flows import ICMP_HEADER, is_error
from netplayground.replay.masks import Mask, segments
from netplayground.replay.redaction import (
    REDACTED_FACT,
    Redactions,
    Span,
    cover,
    emit_redactions,
    merged,
)

FILL = b"x"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was replaced: bytes and spans of streams and datagrams, and how many commands."""

    bytes: int
    spans: int
    commands: int
    missing: str
    """What a torn dump lacks."""


def redact(path: Path, output: Path, fd: int, patterns: Sequence[Mask], progress: Progress) -> Redacted:
    """Write the dump at `path`, redacted, into the empty file `fd`, which `output` names in errors.
    DamagedDumpError where the dump is not what was written."""
    try:
        check_dump(path)
        with open_dump(path) as dump:
            return _redact(dump, output, fd, patterns, progress)
    except OSError as error:
        raise DumpError(f"cannot write {output}: {error.strerror}") from error


def _redact(dump: Dump, output: Path, fd: int, patterns: Sequence[Mask], progress: Progress) -> Redacted:
    copy_whole(dump, fd)
    commands = _redact_commands(dump, fd, patterns)
    found = Redactions()
    streams, last_ns = _walk(dump, fd, patterns, found.datagrams, progress)
    for key, stream in streams.items():
        spans = merged(span for mask in patterns for span in stream.spans_of(mask))
        if spans:
            found.streams[key] = spans
            for span in spans:
                stream.fill(fd, span)
    writer = take_up(dump, output, os.dup(fd), last_ns)
    try:
        for fields in emit_redactions(found):
            writer.fact(REDACTED_FACT, **fields)
    except BaseException:
        writer.close(complete=False)
        raise
    writer.close(complete=dump.state is State.COMPLETE)
    spans = [span for kind in (found.streams, found.datagrams) for spans in kind.values() for span in spans]
    return Redacted(sum(end - start for start, end in spans), len(spans), commands, dump.missing)


class _Stream:
    """What one side of a connection said: where in the file its pieces lie."""

    __slots__ = ("_at", "_dump", "_offsets", "_starts", "length")

    redacted: Sequence[Span] = ()

    def __init__(self, dump: Dump) -> None:
        self._dump = dump
        self._offsets = array("Q")
        self._starts = array("Q")  # of each piece, in the stream
        self.length = 0
        self._at = 0

    def add(self, offset: int, length: int) -> None:
        """The next piece."""
        self._offsets.append(offset)
        self._starts.append(self.length)
        self.length += length

    def spans_of(self, mask: Mask) -> Iterator[Span]:
        """Where a pattern matches."""
        self._at = position = 0
        for segment in segments(self, (mask,)):
            if segment.mask is not None:
                yield position, position + len(segment.data)
            position += len(segment.data)

    def read_exactly(self, length: int) -> bytes:
        """Give the next `length` bytes, fewer only at the end."""
        start, self._at = self._at, min(self._at + length, self.length)
        return b"".join(self._dump.read(offset, size) for offset, size in self._places((start, self._at)))

    def fill(self, fd: int, span: Span) -> None:
        """Replace these bytes in a copy."""
        for offset, size in self._places(span):
            os.pwrite(fd, FILL * size, offset)

    def _places(self, span: Span) -> Iterator[tuple[int, int]]:
        start, end = span
        piece = bisect_right(self._starts, start) - 1
        while start < end:
            begin = self._starts[piece]
            after = self._starts[piece + 1] if piece + 1 < len(self._starts) else self.length
            size = min(end, after) - start
            yield self._offsets[piece] + start - begin, size
            start, piece = start + size, piece + 1


def _walk(
    dump: Dump, fd: int, patterns: Sequence[Mask], found: dict[int, list[Span]], progress: Progress
) -> tuple[dict[tuple[int, int], _Stream], int]:
    """Gather the streams by connection and side, and replace in datagrams; give the time of the end too."""
    streams: dict[tuple[int, int], _Stream] = {}
    last_ns = max((fact.time_ns for fact in dump.facts()), default=dump.run.started_ns)
    for told in dump.in_order():
        event = told if isinstance(told, Datagram) else told[1]
        last_ns = max(last_ns, event.time_ns)
        progress(event.offset, dump.size)
        if isinstance(told, Datagram):
            spans = _redact_datagram(dump, fd, told, patterns)
            if spans:
                found[told.offset] = spans
        elif told[1].kind is EventKind.CHUNK:
            key = told[0], told[1].side
            if key not in streams:
                streams[key] = _Stream(dump)
            streams[key].add(event.offset, event.length)
    return streams, last_ns if dump.ended_ns is None else dump.ended_ns


def _redact_datagram(dump: Dump, fd: int, datagram: Datagram, patterns: Sequence[Mask]) -> list[Span]:
    payload = dump.payload(datagram)
    first = _first_own(datagram, payload)
    spans = [(first + start, first + end) for start, end in spans_in(payload[first:], patterns)]
    if spans:
        os.pwrite(fd, cover(payload, spans, FILL), datagram.offset)
        _mend_checksum(dump, fd, datagram, cover(payload, spans, FILL))
    return spans


def _first_own(datagram: Datagram, payload: bytes) -> int:
    """Where in the payload that begins which a program has said: behind the headers of ICMP."""
    if datagram.protocol not in (ip.ICMP, ip.ICMPV6):
        return 0
    quote = parse_quote(payload) if is_error(datagram.protocol, payload) else None
    ports = 8 if quote is not None and quote.protocol in (ip.UDP, ip.TCP) else 0
    return min(len(payload), ICMP_HEADER if quote is None else len(payload) - len(quote.payload) + ports)


def _mend_checksum(dump: Dump, fd: int, datagram: Datagram, payload: bytes) -> None:
    """Of UDP and ICMP; what other protocols sum is theirs."""
    if datagram.protocol == ip.UDP:
        header, at = dump.read(datagram.offset - 8, 8), datagram.offset - 2
        if header[6:] == b"\0\0":
            return  # its sender has not made one (RFC 768)
        summed = header[:6] + b"\0\0" + payload
    elif datagram.protocol in (ip.ICMP, ip.ICMPV6) and len(payload) >= ICMP_HEADER:
        at, summed = datagram.offset + 2, payload[:2] + b"\0\0" + payload[4:]
    else:
        return
    start = 0
    if datagram.protocol != ip.ICMP:
        ends = datagram.source.packed, datagram.destination.packed
        start = pseudo_header_sum(*ends, datagram.protocol, len(summed))
    check = internet_checksum(summed, start) or (0xFFFF if datagram.protocol == ip.UDP else 0)
    os.pwrite(fd, check.to_bytes(2, "big"), at)


def _redact_commands(dump: Dump, fd: int, patterns: Sequence[Mask]) -> int:
    """Replace in the run header; its block keeps its length, blanks fill it up."""
    names = blocks.SECTION_LENGTH + blocks.INTERFACE_LENGTH
    at = names + int.from_bytes(dump.read(names + 4, 4), "big")
    room = int.from_bytes(dump.read(at + 4, 4), "big")
    processes = tuple(_without_secrets(process, patterns) for process in dump.run.processes)
    count = sum(new != old for new, old in zip(processes, dump.run.processes, strict=True))
    if count:
        block = blocks.emit_run(replace(dump.run, processes=processes), dump.run.started_ns)
        text = block[blocks.CUSTOM_HEADER : -4].ljust(room - blocks.CUSTOM_HEADER - 4)
        os.pwrite(fd, blocks.emit_custom(blocks.FACT, text), at)
    return count


def _without_secrets(process: Process, patterns: Sequence[Mask]) -> Process:
    octets = _octets(process.command)
    covered = cover(bytes(len(octets)), spans_in(octets, patterns), b"\1")
    shown, at = "", 0
    for character in process.command:
        size = len(_octets(character))
        shown += FILL.decode() * size if any(covered[at : at + size]) else character
        at += size
    return replace(process, command=shown)


def _octets(text: str) -> bytes:
    """A command as the shell had it; JSON may hold what no command line can."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def spans_in(octets: bytes, patterns: Iterable[Mask]) -> list[Span]:
    """What the patterns cover of octets that are whole."""
    found: list[Span] = []
    for mask in patterns:
        at = 0
        while (span := mask.find(octets, at, len(octets))) is not None:
            found.append(span)
            at = span[1]
    return merged(found)
