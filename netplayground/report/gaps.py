"""Where two streams differ: which bytes of both are the value that differs, and what stands around it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netplayground.replay.compare import shared_length
from netplayground.replay.masks import Stream
from netplayground.replay.redaction import Span
from netplayground.report.rulebook import Rule
from netplayground.report.shapes import find_value

BEFORE = 64
"""Bytes before a difference that are looked at."""
_WINDOWS = (1 << 11, 1 << 16)  # and behind it
_LONGEST_LEFT = 16
_LONGEST_RIGHT = 8
_ALIKE = ((8, 1 << 16), (4, 64))
"""Bytes by which two streams are known to go on alike, and how far from the difference that is looked for: a
few may be alike by chance."""
_LONGEST_WHOLE = 64  # bytes of a stream in which nothing is constant

_KEY = re.compile(rb"[\"']?[A-Za-z_][\w.-]{0,40}[\"']?[ \t]*[:=][ \t]*[\"'(\[<]?\Z")

Open = Callable[[int], Stream]
"""Gives a stream from a place on."""


class Readable:
    """A stream of bytes that are at hand."""

    redacted: Sequence[Span] = ()

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def read_exactly(self, length: int) -> bytes:
        """Give so many bytes, fewer only at the end."""
        data = self._data[self._at : self._at + length]
        self._at += len(data)
        return data


@dataclass(frozen=True, slots=True)
class Two:
    """Two streams that ought to say the same, and who says them."""

    one: Open
    other: Open
    where: str
    key: object


@dataclass(frozen=True, slots=True)
class Gap:
    """What differs: where it begins in both, where it ends (and how far before it both are constant)."""

    sample: Rule
    starts: tuple[int, int]
    ends: tuple[int, int, int]


def find_gap(two: Two, mine: int, their: int, constant: int) -> Gap | None:
    """The value in which two streams begin to differ at two places, `constant` bytes behind what is masked;
    None where both never go on alike."""
    before = min(constant, BEFORE)
    for size in _WINDOWS:
        one = two.one(mine - before).read_exactly(before + size)
        other = two.other(their - before).read_exactly(before + size)
        is_whole = len(one) < before + size and len(other) < before + size
        found = _span(one, other, before, is_whole)
        if found is not None:
            break
        if is_whole:
            return None
    else:
        return None
    start, end, their_end, is_binary = found
    left = _left_of(one[:start], is_binary)
    most = (2 if len(left) > 3 else _LONGEST_RIGHT) if is_binary else 1
    right = one[end : end + shared_length(one[end : end + most], other[their_end : their_end + most])]
    is_first = mine - before + start == len(left) < 4
    sample = Rule(left, right, is_first, is_binary, [one[start:end], other[start:their_end]], two.where)
    return Gap(
        sample,
        (mine - before + start, their - before + start),
        (mine - before + end, their - before + their_end, start),
    )


def _span(one: bytes, other: bytes, at: int, is_whole: bool) -> tuple[int, int, int, bool] | None:
    """What differs at a place: its beginning, its end in each, and whether it is binary."""

    def goes_on(mine: int, their: int) -> int:
        shared = shared_length(one[mine : mine + 64], other[their : their + 64])
        ends_alike = is_whole and mine + shared == len(one) and their + shared == len(other)
        return 1 << 16 if ends_alike else shared

    is_binary = _is_binary(one, at) or _is_binary(other, at)
    if not is_binary:
        value = find_value(one, other, at, goes_on)
        if value is not None:
            return (*value, False)
    return _up_to_alike(one, other, at, is_binary, is_whole)


def _is_binary(data: bytes, at: int) -> bool:
    near = data[max(0, at - 8) : at + 8]
    return any(octet < 9 or 13 < octet < 32 or octet >= 127 for octet in near)


def _up_to_alike(
    one: bytes, other: bytes, at: int, is_binary: bool, is_whole: bool
) -> tuple[int, int, int, bool] | None:
    """Where both go on alike again; the nearest such place."""
    for size, farthest in _ALIKE:
        found = _alike_again(one[: at + farthest], other[: at + farthest], at, size)
        if found is not None:
            break
    else:
        if not is_whole or (at == 0 and max(len(one), len(other)) > _LONGEST_WHOLE):
            return None
        found = len(one), len(other)
    end, their_end = found
    start = at
    if is_binary:
        return _aligned(one, other, start, end, their_end)
    while start > 0 and _is_word(one[start - 1]):
        start -= 1
    while end < len(one) and their_end < len(other) and one[end] == other[their_end] and _is_word(one[end]):
        end, their_end = end + 1, their_end + 1
    return start, end, their_end, False


def _is_word(octet: int) -> bool:
    return chr(octet).isalnum() and octet < 127


def _alike_again(one: bytes, other: bytes, at: int, size: int) -> tuple[int, int] | None:
    """The nearest places from which so many bytes are alike; first those equally far from the difference."""
    for step in range(1, min(len(one), len(other)) - at - size + 1):
        if one[at + step : at + step + size] == other[at + step : at + step + size]:
            return at + step, at + step
        if step >= 256:
            break
    known: dict[bytes, int] = {}
    for place in range(at, len(one) - size + 1):
        known.setdefault(one[place : place + size], place)
    best: tuple[int, int] | None = None
    for place in range(at, len(other) - size + 1):
        if best is not None and place - at >= sum(best) - 2 * at:
            break
        found = known.get(other[place : place + size])
        if found is not None and (best is None or found + place < sum(best)):
            best = found, place
    return best


def _aligned(one: bytes, other: bytes, start: int, end: int, their_end: int) -> tuple[int, int, int, bool]:
    """A number in binary is most often four bytes, or a multiple: its first ones are seldom different."""
    if end == their_end and end - start > 1:
        lacking = -(end - start) % 4
        is_sure = end - start > 4 or not any(one[start - lacking : start])
        if start >= lacking and is_sure:
            start -= lacking
    return start, end, their_end, True


def _left_of(before: bytes, is_binary: bool) -> bytes:
    """The constant bytes by which a value is known."""
    if is_binary:
        return before[-8:]
    line = before[before.rfind(b"\n") + 1 :]
    key = _KEY.search(line)
    if key is not None:
        return key.group()
    return line[-_LONGEST_LEFT:] or before[-2:]
