"""Which bytes of a recording stand for others: `plg redact` has put as many of one kind in their place.

Facts tell of them, so that a replay lets a live process say any bytes there, but exactly so many. A span is
(where it begins, where it ends), counted in a stream from its first byte, in a datagram in its payload. A
fact that makes no sense tells nothing: what stands there is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from netplayground.dump.model import CLIENT, SERVER, Fact

REDACTED_FACT = "redacted"
MOST = 1 << 16
"""No span is longer."""
_SPANS_MOST = 4096
"""A fact tells of no more."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Redactions:
    """The spans of streams, by the recording's connection and the side, and of datagrams, by where in the
    file the payload begins."""

    streams: dict[tuple[int, int], list[Span]] = field(default_factory=dict)
    datagrams: dict[int, list[Span]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.streams or self.datagrams)


class Datagrams(Protocol):
    """What is asked of a tape: a datagram's place, length and bytes."""

    @property
    def offset(self) -> Sequence[int]: ...

    @property
    def length(self) -> Sequence[int]: ...

    @property
    def read(self) -> Reader: ...


class Reader(Protocol):
    def __call__(self, offset: int, length: int, /) -> bytes: ...


def emit_redactions(redactions: Redactions) -> Iterator[dict[str, object]]:
    """The fields of the facts that tell of them."""
    for (connection, side), spans in redactions.streams.items():
        for first in range(0, len(spans), _SPANS_MOST):
            yield {"of": connection, "side": side, "spans": spans[first : first + _SPANS_MOST]}
    for offset, spans in redactions.datagrams.items():
        for first in range(0, len(spans), _SPANS_MOST):
            yield {"at": offset, "spans": spans[first : first + _SPANS_MOST]}


def parse_redactions(facts: Iterable[Fact]) -> Redactions:
    """Those of a recording."""
    found = Redactions()
    for fact in facts:
        if fact.kind != REDACTED_FACT:
            continue
        of, side, at = (fact.fields.get(name) for name in ("of", "side", "at"))
        if type(of) is int and type(side) is int and side in (CLIENT, SERVER):
            _extend(found.streams.setdefault((of, side), []), fact.fields)
        elif type(at) is int:
            _extend(found.datagrams.setdefault(at, []), fact.fields)
    # A dump that was redacted twice has facts of both times.
    return Redactions(
        {key: merged(spans) for key, spans in found.streams.items() if spans},
        {key: merged(spans) for key, spans in found.datagrams.items() if spans},
    )


def _extend(spans: list[Span], fields: Mapping[str, object]) -> None:
    """Add the spans of a fact, but for those that cannot be."""
    told = fields.get("spans")
    for pair in told if isinstance(told, list) else ():
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(place) is int for place in pair)):
            continue
        if 0 <= pair[0] < pair[1] <= pair[0] + MOST:
            spans.append((pair[0], pair[1]))


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same bytes, each once and in order, in spans that are not too long."""
    whole: list[Span] = []
    for start, end in sorted(spans):
        if whole and start <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(whole[-1][1], end)
        else:
            whole.append((start, end))
    return [(at, min(at + MOST, end)) for start, end in whole for at in range(start, end, MOST)]


def cover(payload: bytes, spans: Iterable[Span], fill: bytes) -> bytes:
    """The payload with each span filled with that one octet."""
    covered = bytearray(payload)
    for start, end in spans:
        covered[start:end] = fill * len(covered[start:end])
    return bytes(covered)


class Layouts:
    """The redacted datagrams of one side of a flow: what is said counts as the one that it equals beside the
    spans."""

    __slots__ = ("_known",)

    def __init__(self, tape: Datagrams, redactions: Redactions, events: Iterable[int]) -> None:
        self._known: dict[tuple[int, tuple[Span, ...]], dict[bytes, bytes]] = {}
        for event in events:
            spans = redactions.datagrams.get(tape.offset[event])
            if spans:
                recorded = tape.read(tape.offset[event], tape.length[event])
                layout = self._known.setdefault((len(recorded), tuple(spans)), {})
                layout.setdefault(cover(recorded, spans, b"\0"), recorded)

    def recorded_for(self, said: bytes) -> bytes:
        """What was recorded of a datagram that differs in redacted spans only; else what was said."""
        for (length, spans), known in self._known.items():
            if length == len(said):
                recorded = known.get(cover(said, spans, b"\0"))
                if recorded is not None:
                    return recorded
        return said
