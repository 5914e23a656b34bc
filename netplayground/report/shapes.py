"""What values that differ from run to run look like, as regular expressions on bytes.

A shape is tried where two streams begin to differ: it must cover the whole value in both, and both must go on
alike behind it. Which shape fits is asked again of all values that were seen in a place, so that what looked
like a number becomes hexadecimal as soon as one value has a letter in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_MONTH, _DAY = rb"[A-Z][a-z]{2}", rb"[A-Z][a-z]{2}"
_CLOCK = rb"\d{2}:\d{2}:\d{2}"
_ZONE = rb"(?: ?(?:Z|[+-]\d{2}(?::?\d{2})?))?"
_AGREES_FOR = 6  # bytes behind a value by which it is sure to be the whole value
_LONGEST_SHORT = 10
_SPAN = 1 << 12  # no value is looked for that is longer


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of value. `text` finds it; `emit` gives the expression for some values that are all of it."""

    text: re.Pattern[bytes]
    emit: Callable[[Sequence[bytes]], bytes]
    is_certain: bool = False
    """What looks like this is this."""


def _known(text: bytes) -> Shape:
    return Shape(re.compile(text), lambda values: text, is_certain=True)


def _up_to(longest: int) -> int:
    """A bound with room for values that are longer than those seen."""
    return next((bound for bound in (10, 20, 40, 100, 255) if bound >= longest), 4 * longest)


_NUMBER = rb"-?\d{1,60}(?:\.\d{1,60})?"
_UNIT = rb"[A-Za-z%]{1,3}"


def _list_of(least: int) -> re.Pattern[bytes]:
    return re.compile(b"(?<![\\w.-])%s(?:, ?%s){%d,999}(?![\\w.])" % (_NUMBER, _NUMBER, least))


def _emit_numbers(values: Sequence[bytes]) -> bytes:
    """Of a list of numbers, which may be longer another time."""
    one = _emit_number([number for value in values for number in re.findall(_NUMBER, value)])
    comma = b", " if any(b", " in value for value in values) else b","
    return b"%s(?:%s%s)*" % (one, comma, one)


def _emit_with_unit(values: Sequence[bytes]) -> bytes:
    numbers = [re.sub(_UNIT + rb"\Z", b"", value) for value in values]
    fractions = [number for number in numbers if b"." in number]
    whole = [number.split(b".")[0] for number in numbers]
    return _emit_number([*fractions, *whole]) + rb"[A-Za-z%]{0,3}"


def _emit_number(values: Sequence[bytes]) -> bytes:
    sign = b"-?" if any(value.startswith(b"-") for value in values) else b""
    digits = [value.lstrip(b"-").split(b".") for value in values]
    whole = _up_to(max(len(parts[0]) for parts in digits))
    fractions = [parts[1] for parts in digits if len(parts) > 1]
    fraction = b""
    if fractions:
        most = _up_to(max(map(len, fractions)))
        fraction = b"\\.\\d{1,%d}" % most if len(fractions) == len(digits) else b"(?:\\.\\d{1,%d})?" % most
    return b"%s\\d{1,%d}%s" % (sign, whole, fraction)


def _token(octets: bytes, least: int = 1) -> Shape:
    """A run of these; of a fixed length where all that were seen are as long, and not short."""

    def emit(values: Sequence[bytes]) -> bytes:
        lengths = {len(value) for value in values}
        longest = max(lengths)
        if len(lengths) == 1 and longest >= 8:
            return b"[%s]{%d}" % (octets, longest)
        return b"[%s]{%d,%d}" % (octets, 1 if min(lengths) else 0, _up_to(longest))

    return Shape(re.compile(b"(?<![%s])[%s]{%d,%d}(?![%s])" % (octets, octets, least, _SPAN, octets)), emit)


def _emit_word(values: Sequence[bytes]) -> bytes:
    """Long ones in both cases are most often Base64, though these have no `+` or `/`."""
    longest, every = max(map(len, values)), b"".join(values)
    is_base64 = longest >= 16 and every not in (every.lower(), every.upper())
    return (_BASE64 if is_base64 else _WORD).emit(values)


_WORD, _BASE64 = _token(b"A-Za-z0-9"), _token(b"A-Za-z0-9_+/=-")
_SHAPES = (
    _known(_DAY + rb", \d{2} " + _MONTH + rb" \d{4} " + _CLOCK + rb" GMT"),
    _known(_DAY + b" " + _MONTH + rb" [ \d]\d " + _CLOCK + rb" \d{4}"),
    _known(rb"\d{2}/" + _MONTH + rb"/\d{4}:" + _CLOCK + rb" [+-]\d{4}"),
    _known(rb"\d{4}-\d{2}-\d{2}[T ]" + _CLOCK + rb"(?:[.,]\d{1,9})?" + _ZONE),
    _known(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
    _known(rb"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"),
    _known(rb"\d{4}-\d{2}-\d{2}"),
    Shape(_list_of(1), _emit_numbers),
    Shape(re.compile(rb"(?<![\w.])" + _NUMBER + rb"(?![\w.]*\w)"), _emit_number),
    Shape(_list_of(0), _emit_numbers),
    Shape(re.compile(rb"(?<![\w.])" + _NUMBER + b"(?:" + _UNIT + rb")?(?!\w)"), _emit_with_unit),
    _token(b"0-9a-f", 4),
    _token(b"0-9A-F", 4),
    _token(b"0-9A-Fa-f", 4),
    Shape(re.compile(rb"(?<!\d)\d{1,60}(?!\w)"), _emit_number),
    Shape(_WORD.text, _emit_word),
    _token(b"A-Za-z0-9_-"),
    _BASE64,
    _token(b"A-Za-z0-9_.%+-"),
    _token(b"A-Za-z0-9_.%+/=~-"),
    _token(b"A-Za-z0-9_.%+/=~:-"),
)
_LOOSE = (
    _token(rb"^\s\"'<>,;&"),
    _token(rb"^\"\r\n"),
    _token(rb"^\r\n"),
)


def find_value(
    one: bytes, other: bytes, at: int, goes_on: Callable[[int, int], int]
) -> tuple[int, int, int] | None:
    """The value in which two texts, equal before `at`, begin to differ there: where it begins, and where it
    ends in each. `goes_on` says for how many bytes they are alike from two places on. None: it has no
    shape."""
    best: tuple[int, tuple[int, int, int]] | None = None
    for shape in _SHAPES:
        mine, their = _around(shape.text, one, at), _around(shape.text, other, at)
        if mine is None or their is None or mine[0] != their[0]:
            continue
        agreed = goes_on(mine[1], their[1])
        value = _behind_key(shape, one, mine[0], at), mine[1], their[1]
        if agreed >= (1 if shape.is_certain else _AGREES_FOR):
            return value
        if agreed and (best is None or mine[1] + agreed > best[0]):
            best = mine[1] + agreed, value
    return None if best is None else best[1]


def _behind_key(shape: Shape, text: bytes, start: int, at: int) -> int:
    """Where the value begins, if what looks like a part of it is its name."""
    named = -1 if shape.is_certain else max(text.rfind(mark, start, at) for mark in (b"=", b":"))
    return start if named < 0 else named + 1


def _around(pattern: re.Pattern[bytes], text: bytes, at: int) -> tuple[int, int] | None:
    """The match that has the place in it, or ends there."""
    for match in pattern.finditer(text, max(0, at - 255)):
        if match.start() > at:
            return None
        if match.end() >= at:
            return match.span()
    return None


def body_of(values: Iterable[bytes], is_binary: bool) -> bytes:
    """An expression for all these values, and others of their kind."""
    seen = sorted(set(values))
    filled = [value for value in seen if value]
    for shape in () if is_binary or len(filled) < len(seen) else (*_SHAPES, *_LOOSE):
        if all(shape.text.fullmatch(value) for value in filled):
            return shape.emit(filled)
    if not is_binary and not any(b"\n" in value or b"\r" in value for value in seen):
        return b"[^\\r\\n]{%d,%d}" % (min(map(len, seen)) and 1, _up_to(max(map(len, seen))))
    lengths = {len(value) for value in seen}
    if len(lengths) == 1:
        return b"(?s:.{%d})" % length if (length := lengths.pop()) > 1 else b"(?s:.)"
    room = max(16, max(lengths) // 4)
    return b"(?s:.{%d,%d}?)" % (max(min(1, *lengths), min(lengths) - room), max(lengths) + room)


def emit_literal(octets: bytes) -> bytes:
    """Octets as a part of an expression, in printable ASCII."""
    return b"".join(_emit_octet(octet) for octet in octets)


_NAMED = {10: b"\\n", 13: b"\\r", 9: b"\\t"}
_SPECIAL = frozenset(b"\\^$.|?*+()[]{}#")


def _emit_octet(octet: int) -> bytes:
    if octet in _NAMED:
        return _NAMED[octet]
    if not 32 <= octet < 127:
        return b"\\x%02x" % octet
    return (b"\\" if octet in _SPECIAL else b"") + bytes((octet,))
