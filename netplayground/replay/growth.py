"""Whether bytes that are still to come could change what a regular expression matches.

A stream comes in pieces, and Python's `re` does not tell whether a match, or a failure, would have looked
beyond the end of what is there. So a second expression is made from the first one's tree: wherever the first
needs an octet, the second may stop at the end instead, in the order in which the first one tries its ways. It
stops at the end exactly where a way that the first one prefers to what it has found runs out of bytes; else
it finds what the first one finds. Where that cannot be told so finely (look-ahead, references to groups), it
stops at the end rather too often.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Sequence
from typing import Any

# What `re` is made of; the modules were renamed in 3.11.
_NEW = sys.version_info >= (3, 11)
_parser: Any = importlib.import_module("re._parser" if _NEW else "sre_parse")
_compiler: Any = importlib.import_module("re._compiler" if _NEW else "sre_compile")
_ops: Any = importlib.import_module("re._constants" if _NEW else "sre_constants")

_ONE = (_ops.LITERAL, _ops.NOT_LITERAL, _ops.ANY, _ops.IN)
"""What takes exactly one octet."""
_REPEATS = (_ops.MAX_REPEAT, _ops.MIN_REPEAT, getattr(_ops, "POSSESSIVE_REPEAT", None))
_END = (_ops.AT, _ops.AT_END_STRING)
_ANY = (_ops.IN, [(_ops.RANGE, (0, 255))])

_Item = tuple[Any, Any]


def parse_tree(text: bytes) -> Any:
    """The tree of a regular expression; re.error for what is none."""
    return _parser.parse(text)


def is_always_empty(tree: Any) -> bool:
    """Whether the expression can match no octet."""
    return bool(tree.getwidth()[1] == 0)


def needle_of(tree: Any) -> tuple[bytes, int | None]:
    """Octets that stand in or just before each match, found much faster than it; how far behind their
    beginning the match begins, if that is always the same."""
    if tree.state.flags & re.IGNORECASE:
        return b"", None
    needles: list[tuple[bytes, int | None]] = [(b"", None)]
    run, at = b"", 0
    is_fixed = True  # the octets before `at` are always so many
    for op, argument in [*tree, (None, None)]:
        if op is _ops.LITERAL:
            run += bytes((argument,))
            continue
        seen = _seen_before(op, argument)
        needles.append((run, -at if is_fixed else None))
        at += len(run)
        needles.append((seen, len(seen) - at if is_fixed else None))
        if op is not None:
            least, most = _parser.SubPattern(tree.state, [(op, argument)]).getwidth()
            at, is_fixed = at + least, is_fixed and least == most
        run = b""
    return max(needles, key=lambda needle: len(needle[0]))


def _seen_before(op: Any, argument: Any) -> bytes:
    """What a look-behind asks for, where that is one string."""
    if op is not _ops.ASSERT or argument[0] > 0 or any(seen[0] is not _ops.LITERAL for seen in argument[1]):
        return b""
    return bytes(seen[1] for seen in argument[1])


def growing(tree: Any) -> re.Pattern[bytes]:
    """The second expression: more bytes could change the match if this one matches up to the end."""
    grown: re.Pattern[bytes] = _compiler.compile(_sequence(tree, tree.state), 0)
    return grown


def _sequence(items: Any, state: Any) -> Any:
    return _parser.SubPattern(state, [_grown(op, argument, state) for op, argument in items])


def _grown(op: Any, argument: Any, state: Any) -> _Item:
    item = (op, argument)

    def either(*ways: Sequence[_Item]) -> _Item:
        return _ops.BRANCH, (None, [_parser.SubPattern(state, list(way)) for way in ways])

    rest = (_ops.MAX_REPEAT, (0, _ops.MAXREPEAT, _parser.SubPattern(state, [_ANY])))
    if op in _ONE:
        return either([item], [_END])
    if op in _REPEATS:
        return _repeat(op, argument, state)
    if op is _ops.BRANCH:
        return op, (argument[0], [_sequence(way, state) for way in argument[1]])
    if op is _ops.SUBPATTERN:
        return op, (*argument[:-1], _sequence(argument[-1], state))
    if op in (_ops.ASSERT, _ops.ASSERT_NOT) and argument[0] > 0:
        seen = _parser.SubPattern(state, [*_sequence(argument[1], state), _END])
        return either([(_ops.ASSERT, (1, seen)), rest], [item])
    if op is _ops.AT and argument is _ops.AT_END and not state.flags & re.MULTILINE:
        # It holds before a line feed that is the last octet, too.
        feed = (_ops.MAX_REPEAT, (0, 1, _parser.SubPattern(state, [(_ops.LITERAL, 10)])))
        return either([feed, _END], [item])
    if op in (_ops.AT, _ops.ASSERT, _ops.ASSERT_NOT):
        return either([_END], [item])
    if op is _ops.GROUPREF:
        return either([item], [rest])
    if op is _ops.GROUPREF_EXISTS:
        group, yes, no = argument
        return op, (group, _sequence(yes, state), no and _sequence(no, state))
    if op is getattr(_ops, "ATOMIC_GROUP", None):
        return op, _sequence(argument, state)
    return item


def _repeat(op: Any, argument: Any, state: Any) -> _Item:
    """A repetition of one octet runs in C as one step: it stays one, with a way to stop at the end before it
    or, where it takes as few as it can, behind it."""
    least, most, body = argument
    if len(body) != 1 or body[0][0] not in _ONE or most == 0:
        return op, (least, most, _sequence(body, state))
    fewer = most if most is _ops.MAXREPEAT else most - 1
    stopped = _parser.SubPattern(state, [(_ops.MAX_REPEAT, (0, fewer, body)), _END])
    whole = _parser.SubPattern(state, [(op, argument)])
    ways = [whole, stopped] if op is _ops.MIN_REPEAT else [stopped, whole]
    return _ops.BRANCH, (None, ways)
