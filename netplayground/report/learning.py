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

from collections.abc import Sequence

from netplayground.replay.compare import shared_length
from netplayground.replay.masks import Mask, Segment, segments
from netplayground.report.gaps import BEFORE, Two, find_gap
from netplayground.report.pairing import Half
from netplayground.report.rulebook import RuleBook

_MOST_GAPS = 128  # of one stream: what differs more often is something else


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
            gap = find_gap(two, mine, their, constant)
            if gap is None or stuck > 1:
                self._book.lost.add(two.key)  # the comparison will say it
                return
            if self._book.add(gap.sample):
                self.has_learned = True
                self._make_masks()
                back = min(constant, BEFORE, gap.ends[2])
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
