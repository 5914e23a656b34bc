"""What may differ between recording and replay: spans that a regular expression matches, and addresses.

A recorded stream is cut into segments: literal bytes, and spans that a mask covers. A span begins at the
leftmost byte at which a mask matches at least one byte; of two masks that match there the first one given
wins. It ends where the expression says, or after 64 KiB. What a live process says in place of a span is
measured by the same mask in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address
from typing import Any, Protocol

from netplayground.errors import UsageError
from netplayground.replay.growth import growing, is_always_empty, needle_of, parse_tree
from netplayground.replay.redaction import Span

MOST = 1 << 16
"""No match is longer."""
LOOKBACK = 1 << 10
"""An expression sees so many bytes before the place where it is tried."""
_WINDOWS = (1 << 14, 2 * MOST)
"""So much of a recorded stream is searched in one go: at its beginning, where most differ, and later."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One mask. `grows` tells whether more bytes could change a match (see growth.py)."""

    pattern: re.Pattern[bytes]
    grows: re.Pattern[bytes]
    needle: bytes
    """Stands in or before each match; nothing where none is known."""
    begins: int | None
    """Each match begins so far behind the needle's beginning."""
    is_address: bool = False
    said: Mapping[bytes, Mask] = field(default_factory=dict)
    """For an address: by what was recorded, what may be said instead."""

    def find(self, buffer: bytes, start: int, end: int) -> tuple[int, int] | None:
        """Give the leftmost span that begins in `buffer` from `start` on and before `end`."""
        for place in self._places(buffer, start):
            if place >= end:
                break
            span = self.pattern.match(buffer, place, place + MOST)
            if span is not None and span.end() > place:
                return span.span()
        return None

    def _places(self, buffer: bytes, start: int) -> Iterator[int]:
        """Where a span may begin, from the left."""
        near = buffer.find(self.needle, max(0, start - len(self.needle)))
        if self.begins is None:
            while near >= 0 and (found := self.pattern.search(buffer, start)):
                start = found.start()
                yield start
                start += 1
            return
        while near >= 0:
            if near + self.begins >= start:
                yield near + self.begins
            near = buffer.find(self.needle, near + 1)

    def measure(self, said: bytes, at: int) -> tuple[int | None, bool]:
        """Give the end of what this mask matches at a place, if it does, and whether it is open: whether more
        bytes could change that."""
        limit = at + MOST
        found = self.pattern.match(said, at, limit)
        end = None if found is None else found.end()
        if len(said) >= limit:
            return end, False
        if end == len(said):
            return end, True
        grown = self.grows.match(said, at)
        return end, grown is not None and grown.end() == len(said)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a recorded stream; `mask` is None for literal bytes."""

    data: bytes
    mask: Mask | None

    def __bool__(self) -> bool:
        return bool(self.data)

    @property
    def is_address(self) -> bool:
        return self.mask is not None and self.mask.is_address

    def behind(self, size: int) -> Segment:
        """What is left of it behind `size` bytes."""
        return Segment(self.data[size:], self.mask)


def parse_masks(ignore: Sequence[bytes], option: str = "--ignore") -> tuple[Mask, ...]:
    """The masks of an option; UsageError for what is no regular expression or can match no byte."""
    masks = []
    for text in ignore:
        shown = repr(text.decode("utf-8", "backslashreplace"))
        try:
            tree = parse_tree(text)
            if is_always_empty(tree):
                raise UsageError(f"cannot use {option} {shown}: it matches the empty string only")
            masks.append(_mask(text, tree))
        except (re.error, OverflowError, RecursionError) as error:
            raise UsageError(f"cannot use {option} {shown}: {error}") from error
    return tuple(masks)


def _mask(text: bytes, tree: Any) -> Mask:
    needle, begins = needle_of(tree)
    return Mask(re.compile(text), growing(tree), needle, begins)


def address_masks(addresses: Mapping[str, str]) -> tuple[Mask, ...]:
    """The masks by which a recorded address equals that of the replay; none where no address changed."""
    texts = {old: new for old, new in addresses.items() if old != new}
    # FTP writes an IPv4 address with commas (RFC 959, 4.1.2).
    commas = {
        old.replace(".", ","): new.replace(".", ",")
        for old, new in texts.items()
        if ip_address(old).version == ip_address(new).version == 4
    }
    tables = (
        ({old: new for old, new in texts.items() if "." in old}, _DOTTED),
        (commas, _COMMAS),
        ({old: new for old, new in texts.items() if ":" in old}, _COLONS),
    )
    return tuple(_address_mask(table, guards) for table, guards in tables if table)


_Guards = tuple[tuple[bytes, ...], bytes]
"""What may not stand before an address, each of fixed length, and what may not follow."""
_DOTTED: _Guards = ((rb"[0-9]", rb"[0-9]\."), rb"\.?[0-9]")
_COMMAS: _Guards = ((rb"[0-9]", rb"[0-9],"), rb"[0-9]")
_COLONS: _Guards = ((rb"[0-9A-Za-z:.]",), rb"[0-9A-Za-z]|[:.][0-9A-Za-z:]")


def _address_mask(table: Mapping[str, str], guards: _Guards) -> Mask:
    words = {old.encode(): new.encode() for old, new in table.items()}
    said = {old: _words_mask({old, new}, guards) for old, new in words.items()}
    return replace(_words_mask(words, guards), is_address=True, said=said)


def _words_mask(words: Collection[bytes], guards: _Guards) -> Mask:
    """A mask for words. What may not stand before a word is looked for from behind it: so the expression
    begins with what the words have in common, and that is found fast."""
    before, after = guards
    choices = []
    for word in sorted(words, key=len, reverse=True):
        escaped = re.escape(word)
        choices.append(escaped + b"".join(b"(?<!" + guard + escaped + b")" for guard in before))
    text = b"(?:" + b"|".join(choices) + b")(?!" + after + b")"
    return _mask(text, parse_tree(text))


class Stream(Protocol):
    """A recorded stream, read from its beginning; `redacted` are the spans of it that stand for others."""

    redacted: Sequence[Span]

    def read_exactly(self, length: int) -> bytes:
        """Give so many bytes, fewer only at the end."""


@cache  # what is redacted in two records alike must be one mask
def any_bytes(length: int) -> Mask:
    """The mask of so many bytes, whatever they are."""
    return Mask(re.compile(b"(?s:.{%d})" % length), re.compile(b"(?s:.{0,%d})" % (length - 1)), b"", None)


class _Redacted:
    """The next span of what was redacted, as a _Coming."""

    __slots__ = ("_next", "_spans", "end", "mask", "start")

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._next = 0
        self.start = self.end = -1
        self.mask = any_bytes(1)

    def look(self, _buffer: bytes, _base: int, place: int, settled: int) -> bool:
        spans = self._spans
        while self._next < len(spans) and spans[self._next][1] <= place:
            self._next += 1
        if self._next == len(spans) or spans[self._next][0] >= settled:
            return False
        self.start, self.end = max(place, spans[self._next][0]), spans[self._next][1]
        self.mask = any_bytes(self.end - self.start)
        return True


class _Coming:
    """The next span of one mask; `place` counts from the stream's beginning."""

    __slots__ = ("end", "mask", "start", "tried")

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.start = self.end = -1
        self.tried = 0  # no span begins before this

    def look(self, buffer: bytes, base: int, place: int, settled: int) -> bool:
        """Whether a span begins from `place` on and before `settled`; the buffer begins at `base`."""
        if self.start < place and self.tried < settled:
            found = self.mask.find(buffer, max(place, self.tried) - base, settled - base)
            self.tried = settled
            if found is not None:
                self.start, self.end = base + found[0], base + found[1]
                self.tried = self.start + 1
        return self.start >= place


def segments(stream: Stream, masks: Sequence[Mask]) -> Iterator[Segment]:
    """Cut a recorded stream, from its beginning, into its segments; a window of it is held."""
    coming: list[_Redacted | _Coming] = [_Coming(mask) for mask in masks]
    if stream.redacted:
        coming.insert(0, _Redacted(stream.redacted))
    buffer, base, place, settled = b"", 0, 0, 0
    window = _WINDOWS[0]
    while True:
        if place == settled:
            kept = max(0, place - base - LOOKBACK)
            buffer, base = buffer[kept:], base + kept
            fresh = stream.read_exactly(place - base + MOST + window - len(buffer))
            buffer += fresh
            # Where a window is not the last, a span that begins in its last bytes may reach beyond it.
            is_last = base + len(buffer) < place + MOST + window
            settled = base + len(buffer) - (0 if is_last else MOST)
            window = _WINDOWS[1]
            if place == settled:
                return
        first = min(
            (span for span in coming if span.look(buffer, base, place, settled)),
            key=lambda span: span.start,
            default=None,
        )
        start = settled if first is None else first.start
        if start > place:
            yield Segment(buffer[place - base : start - base], None)
        place = start
        if first is not None:
            yield Segment(buffer[start - base : first.end - base], first.mask)
            place = first.end
            settled = max(settled, place)
