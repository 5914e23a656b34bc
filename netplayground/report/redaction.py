"""A dump without its secrets: what a pattern matches is replaced by as many octets of one kind.

Nothing moves: the copy has every block where the dump has it, so its index stays right. A pattern is searched
in each direction of each connection as one stream, and in the payload of each datagram, from the left, each
by itself: a byte that any of them covers is replaced. All other texts of the file are treated alike, by whole
characters: commands, options, what facts tell; but not the names, addresses and kinds that hold it together.
What was replaced is told by facts at the end, for replays.

A dump of the original program is converted before.
"""

from __future__ import annotations

import json
import os
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from netplayground.dump import blocks
from netplayground.dump.check import check_dump
from netplayground.dump.converting import convert
from netplayground.dump.model import Datagram, EventKind, State
from netplayground.dump.reader import Dump, open_dump
from netplayground.dump.recording import open_recording
from netplayground.dump.taking_up import copy_whole, take_up
from netplayground.dump.tunreplay import TunReplayDump
from netplayground.errors import DumpError
from netplayground.packet import ip
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum
from netplayground.packet.quote import parse_quote
from netplayground.replay.flows import ICMP_HEADER, is_error
from netplayground.replay.masks import Mask
from netplayground.replay.redaction import (
    MOST,
    REDACTED_FACT,
    Redactions,
    Span,
    cover,
    emit_redactions,
    merged,
)
from netplayground.report.pieces import FILL, PACKED_PASSES, Pieces

Progress = Callable[[int, int], None]

_STAGES = 3  # the dump is checked, the streams are gathered, they are searched


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was replaced: bytes and spans of streams and datagrams, and in how many commands and facts."""

    bytes: int
    spans: int
    commands: int
    facts: int
    cut: int
    """Matches that end because they may be no longer, and after which something stands."""
    unreadable: int
    """Streams in which something is packed or encrypted: nobody looked inside."""
    missing: str
    """What a torn dump lacks."""
    original: bool
    """Whether it was a dump of the original program."""
    ambiguous: str = ""


def redact(path: Path, output: Path, fd: int, patterns: Sequence[Mask], progress: Progress) -> Redacted:
    """Write the dump at `path`, redacted, into the empty file `fd`, which `output` names in errors.
    DamagedDumpError where the dump is not what was written."""
    try:
        check_dump(path, lambda done, size: progress(done // _STAGES, size))
        with open_recording(path) as recording:
            if isinstance(recording, Dump):
                return _redact(recording, output, fd, patterns, progress)
            return _redact_original(recording, output, fd, patterns, progress)
    except OSError as error:
        raise DumpError(f"cannot write {output}: {error.strerror}") from error


def _redact_original(
    original: TunReplayDump, output: Path, fd: int, patterns: Sequence[Mask], progress: Progress
) -> Redacted:
    with tempfile.TemporaryFile(dir=output.parent) as converted:
        convert(original, output, converted.fileno())
        with open_dump(Path(f"/proc/self/fd/{converted.fileno()}")) as dump:
            done = _redact(dump, output, fd, patterns, progress)
    return replace(done, missing=original.missing, original=True, ambiguous=original.ambiguous)


def _redact(dump: Dump, output: Path, fd: int, patterns: Sequence[Mask], progress: Progress) -> Redacted:
    copy_whole(dump, fd)
    commands = _redact_header(dump, fd, patterns)
    facts = sum([_redact_fact(dump, fd, offset, patterns) for offset in dump.fact_offsets()])
    found = Redactions()
    searched = _Searched(dump.size, len(patterns) + PACKED_PASSES, progress)
    streams, last_ns = _walk(dump, fd, patterns, found.datagrams, progress, searched)
    cut = unreadable = 0
    for key, stream in streams.items():
        matches = [span for mask in patterns for span in stream.spans_of(mask)]
        spans = merged(matches)
        cut += _count_cut(matches, spans, stream.length)
        unreadable += stream.is_unreadable()
        searched.end(stream.length)
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
    size = sum(end - start for start, end in spans)
    return Redacted(size, len(spans), commands, facts, cut, unreadable, dump.missing, original=False)


class _Searched:
    """How much of all streams has been searched: the last stage of the work on a file of `size`."""

    def __init__(self, size: int, passes: int, progress: Progress) -> None:
        """Each stream is read so many times, at most."""
        self._size, self._passes, self._progress = size, passes, progress
        self._all = self._done = self._read = 0

    def expect(self, length: int) -> None:
        """So much more is in the streams."""
        self._all += length

    def read(self, length: int) -> None:
        """So much has been read; a little is read twice, where a match may span two windows."""
        self._read += length
        done = min(self._done + self._read // self._passes, self._all)
        share = self._size * done // max(1, self._all)
        self._progress(((_STAGES - 1) * self._size + share) // _STAGES, self._size)

    def end(self, length: int) -> None:
        """A stream of this length is done."""
        self._done += length
        self._read = 0


def _count_cut(matches: Sequence[Span], spans: Sequence[Span], length: int) -> int:
    """How many matches are as long as they may be, and have bytes behind them that nothing covers."""
    ends = [end for start, end in matches if end - start == MOST and end < length]
    starts = [start for start, _ in spans]
    return sum(spans[bisect_right(starts, end) - 1][1] <= end for end in ends)


def _walk(
    dump: Dump,
    fd: int,
    patterns: Sequence[Mask],
    found: dict[int, list[Span]],
    progress: Progress,
    searched: _Searched,
) -> tuple[dict[tuple[int, int], Pieces], int]:
    """Gather the streams by connection and side, and replace in datagrams; give the time of the end too."""
    streams: dict[tuple[int, int], Pieces] = {}
    last_ns = max((fact.time_ns for fact in dump.facts()), default=dump.run.started_ns)
    at = 0
    for told in dump.in_order():
        event = told if isinstance(told, Datagram) else told[1]
        last_ns = max(last_ns, event.time_ns)
        at = max(at, event.offset)  # an event without bytes has none
        progress((dump.size + at) // _STAGES, dump.size)
        if isinstance(told, Datagram):
            spans = _redact_datagram(dump, fd, told, patterns)
            if spans:
                found[told.offset] = spans
        elif told[1].kind is EventKind.CHUNK:
            key = told[0], told[1].side
            if key not in streams:
                streams[key] = Pieces(dump, searched.read)
            streams[key].add(event.offset, event.length)
            searched.expect(event.length)
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


def _redact_header(dump: Dump, fd: int, patterns: Sequence[Mask]) -> int:
    """Replace in the run header; give in how many commands."""
    names = blocks.SECTION_LENGTH + blocks.INTERFACE_LENGTH
    _redact_fact(dump, fd, names + int.from_bytes(dump.read(names + 4, 4), "big"), patterns)
    return sum(_without_secrets(each.command, patterns) != each.command for each in dump.run.processes)


def _redact_fact(dump: Dump, fd: int, offset: int, patterns: Sequence[Mask]) -> bool:
    """Replace in a block of JSON, which keeps its length: blanks fill it up. Say whether that changed it."""
    length = int.from_bytes(dump.read(offset + 4, 4), "big")
    before = blocks.parse_fact(dump.read(offset, length)[blocks.CUSTOM_HEADER : -4])
    after = _without_secrets(before, patterns)
    if after == before:
        return False
    text = json.dumps(after, separators=(",", ":")).encode("ascii")
    room = length - blocks.CUSTOM_HEADER - 4
    if len(text) > room:  # the fill needs no escape: what plg has written becomes no longer
        raise dump.source.damaged("a fact that plg has not written", offset)
    os.pwrite(fd, text.ljust(room), offset + blocks.CUSTOM_HEADER)
    return True


_KEPT = frozenset({"kind", "name", "process", "side", "addresses", "subnets", "version", "ready", "until"})
"""What holds a dump together; the words of JSON's objects stay as well."""

T = TypeVar("T")


def _without_secrets(value: T, patterns: Sequence[Mask]) -> T:
    """The same, with the texts in it redacted."""
    changed: object = value
    if isinstance(value, str):
        changed = _text_without_secrets(value, patterns)
    elif isinstance(value, list):
        changed = [_without_secrets(each, patterns) for each in value]
    elif isinstance(value, dict):
        changed = {
            key: each if key in _KEPT else _without_secrets(each, patterns) for key, each in value.items()
        }
    return cast(T, changed)


def _text_without_secrets(text: str, patterns: Sequence[Mask]) -> str:
    octets = _octets(text)
    covered = cover(bytes(len(octets)), spans_in(octets, patterns), b"\1")
    shown, at = "", 0
    for character in text:
        size = len(_octets(character))
        shown += FILL.decode() * size if any(covered[at : at + size]) else character
        at += size
    return shown


def _octets(text: str) -> bytes:
    """A text as a shell had it; JSON may hold what no command line can."""
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
