"""The rules that are being learned: each grows with what is seen in its place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from netplayground.replay.compare import shared_length
from netplayground.replay.masks import Mask, parse_masks
from netplayground.report.shapes import body_of, emit_literal

_LEAST_LEFT = 4
_MOST_RULES = 256
_MOST_VALUES = 64  # of one rule, that are kept


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
