"""Rules for what differs between good runs: where two streams differ, an expression for both and their like.

Two streams are walked along together, under the rules that there are already. Where they differ, the value
that differs is found: one that has a shape (shapes.py), else all up to where both go on alike again. It is
known by the constant bytes before it, and by those behind it. Values with the same bytes before them, in
whatever connection, are one rule, and the rule's expression is made of all that were seen. Then the walk goes
on under the new rules: so what one rule covers never makes another.

It is learned first from connections that are sure to be each other's: those of which one side says the same,
or that are alone between their ends. Under the rules so found, others find each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from netplayground.replay.compare import shared_length
from netplayground.replay.masks import Mask, Segment, Stream, parse_masks, segments
from netplayground.replay.redaction import Span
from netplayground.report.pairing import Half
from netplayground.report.shapes import body_of, emit_literal, find_value

_BEFORE = 64  # bytes before a difference that are looked at
_WINDOWS = (1 << 11, 1 << 16)  # and behind it
_LONGEST_LEFT = 16
_LEAST_LEFT = 4
_LONGEST_RIGHT = 8
_ALIKE = ((8, 1 << 16), (4, 64))
"""Bytes by which two streams are known to go on alike, and how far from the difference that is looked for: a
few may be alike by chance."""
_MOST_RULES = 256
_MOST_GAPS = 128  # of one stream: what differs more often is something else
_LONGEST_WHOLE = 64  # bytes of a stream in which nothing is constant
_MOST_VALUES = 64  # of one rule, that are kept

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


@dataclass(slots=True)
class Rule:
    """One rule as it grows: the constant bytes around, and the values seen between them."""

    left: bytes
    right: bytes
    is_first: bool
    """It stands at the very beginning, or nearly so."""
    is_binary: bool
    values: list[bytes]
    where: str

    def add(self, right: bytes, values: Sequence[bytes]) -> None:
        """One more place."""
        self.right = self.right[: shared_length(self.right, right)]
        if len(self.values) < _MOST_VALUES:
            self.values += [value for value in values if value not in self.values]
        else:
            fresh = [value for value in values if not re.fullmatch(self._body(), value)]
            self.values += fresh

    def _body(self) -> bytes:
        return body_of(self.values, self.is_binary)

    def emit(self) -> bytes:
        """The regular expression."""
        start = b"\\A" if self.is_first else b""
        before = b"(?<=%s%s)" % (start, emit_literal(self.left)) if self.left else start
        behind = b"(?=%s)" % emit_literal(self.right) if self.right else b""
        return before + self._body() + behind

    def covers(self, other: Rule) -> bool:
        """Whether all that was seen in the other's place is this rule's, too."""
        pattern = re.compile(self.emit())
        start = len(other.left)
        for value in other.values:
            found = pattern.search(other.left + value + other.right)
            if found is None or found.start() > start or found.end() < start + len(value):
                return False
        return True

    def examples(self) -> list[bytes]:
        """Two of the values."""
        return self.values[:2]


@dataclass(slots=True)
class RuleBook:
    """All rules so far."""

    rules: list[Rule] = field(default_factory=list)
    lost: set[object] = field(default_factory=set)
    """Streams, by their keys, in which something differs that no rule can cover."""
    _masks: dict[bytes, Mask] = field(default_factory=dict)

    def mask(self, text: bytes) -> Mask:
        """The mask of an expression, always the same one."""
        if text not in self._masks:
            (self._masks[text],) = parse_masks([text])
        return self._masks[text]

    def emit(self) -> tuple[bytes, ...]:
        """Their expressions, each once."""
        return tuple(dict.fromkeys(rule.emit() for rule in self.rules))

    def prune(self) -> None:
        """Let go of rules in whose places others hold as well."""
        for rule in list(self.rules):
            if any(other is not rule and other.covers(rule) for other in self.rules):
                self.rules.remove(rule)

    def add(self, sample: Rule) -> bool:
        """Take what was seen in a place; whether that changes any expression."""
        known = next((rule for rule in self.rules if _is_same_place(rule, sample)), None)
        if known is None and sample.is_binary:
            known = next((rule for rule in self.rules if _share_left(rule, sample)), None)
        if known is None:
            if len(self.rules) >= _MOST_RULES:
                return False
            self.rules.append(sample)
            return True
        before = known.emit()
        known.add(sample.right, sample.values)
        return known.emit() != before


def _is_same_place(rule: Rule, sample: Rule) -> bool:
    if rule.is_binary != sample.is_binary or rule.is_first != sample.is_first:
        return False
    if not (rule.left and sample.left):
        return rule.left == sample.left and (rule.is_first or rule.right == sample.right)
    return rule.left == sample.left


def _share_left(rule: Rule, sample: Rule) -> bool:
    """Whether a part of what stands before two binary values is the same, and the rest is a part of what
    differs; then it becomes one."""
    sizes = {len(value) for value in (*rule.values, *sample.values)}
    shared = shared_length(rule.left, sample.left)
    if not rule.is_binary or rule.right != sample.right or len(rule.left) != len(sample.left):
        return False
    if len(sizes) > 1 or shared < _LEAST_LEFT or rule.is_first or sample.is_first:
        return False
    for each in (rule, sample):
        each.values = [each.left[shared:] + value for value in each.values]
        each.left = each.left[:shared]
    return True


@dataclass(frozen=True, slots=True)
class Two:
    """Two streams that ought to say the same, and who says them."""

    one: Open
    other: Open
    where: str
    key: object


class Walk:
    """Goes along two streams, and learns where they differ."""

    def __init__(self, book: RuleBook, ignore: Sequence[bytes], one: Half, other: Half) -> None:
        self._book = book
        self._ignore = ignore
        self._ends = one, other
        self._masks: tuple[list[Mask], list[Mask]] = ([], [])
        self.has_learned = False
        self._make_masks()

    def _make_masks(self) -> None:
        parsed = [self._book.mask(text) for text in (*self._ignore, *self._book.emit())]
        for masks, half in zip(self._masks, self._ends, strict=True):
            masks[:] = [*parsed, *(mask for mask in half.masks if mask.is_address)]

    def learn(self, two: Two) -> None:
        """Learn all that there is to be learned of two streams."""
        if two.key in self._book.lost:
            return
        place, stuck, gaps = (0, 0, 0), 0, 0
        last = (-1, -1)
        while (found := self._first_difference(two, place)) is not None and gaps < _MOST_GAPS:
            gaps += 1
            mine, their, constant = found
            stuck = stuck + 1 if (mine, their) == last else 0
            last = mine, their
            gap = _find_gap(two, mine, their, constant)
            if gap is None or stuck > 1:
                self._book.lost.add(two.key)  # the comparison will say it
                return
            if self._book.add(gap.sample):
                self.has_learned = True
                self._make_masks()
                back = min(constant, _BEFORE, gap.ends[2])
                place = gap.starts[0] - back, gap.starts[1] - back, 0
            else:  # it is known, and does not match here: what follows may still be learned
                place = gap.ends[0], gap.ends[1], 0
                last = (-1, -1)

    def _first_difference(self, two: Two, place: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """Where the streams differ first, from two places on, and how many bytes before that are constant."""
        at, there, constant = place
        here = segments(two.one(at), self._masks[0])
        others = segments(two.other(there), self._masks[1])
        one = other = _NOTHING
        while True:
            one, other = one or next(here, _NOTHING), other or next(others, _NOTHING)
            if not one and not other:
                return None
            if not one or not other:
                return at, there, constant
            if one.mask is None and other.mask is None:
                shared = shared_length(one.data, other.data)
                at, there, constant = at + shared, there + shared, constant + shared
                if shared < min(len(one.data), len(other.data)):
                    return at, there, constant
                one, other = one.behind(shared), other.behind(shared)
            elif self._are_alike(one, other):
                at, there, constant = at + len(one.data), there + len(other.data), 0
                one = other = _NOTHING
            else:
                return at, there, constant

    def _are_alike(self, one: Segment, other: Segment) -> bool:
        if one.is_address and other.is_address:
            return self._ends[1].addresses.get(other.data, other.data) == one.data
        return one.mask is other.mask


_NOTHING = Segment(b"", None)


@dataclass(frozen=True, slots=True)
class _Gap:
    """What differs: where it begins in both, where it ends (and how far before it both are constant)."""

    sample: Rule
    starts: tuple[int, int]
    ends: tuple[int, int, int]


def _find_gap(two: Two, mine: int, their: int, constant: int) -> _Gap | None:
    before = min(constant, _BEFORE)
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
    return _Gap(
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
