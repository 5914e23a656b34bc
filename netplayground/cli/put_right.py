"""The part of `plg show` of what an import had to put right: packets out of order, twice, or never."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netplayground.dump.recording import Recording

Counts = dict[str, int]
"""What was counted of one side's segments, by name (see `capture.connection.COUNTS`)."""
Found = tuple[int, Counts, Counts]
"""A connection, and the counts of its client and of its server."""

_SIDES = ("→ server", "← client")


def found(dump: Recording, number: int | None = None) -> Iterator[Found]:
    """Give what was put right, in the order in which connections ended: of all of them, or of one."""
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.capture.connection import COUNTS
    from netplayground.capture.telling import PUT_RIGHT

    for fact in dump.facts():
        if fact.kind == PUT_RIGHT and fact.connection is not None and number in (None, fact.connection):
            client, server = ({name: _count(fact.fields, name, side) for name in COUNTS} for side in (0, 1))
            yield fact.connection, client, server


def _count(fields: Mapping[str, object], name: str, side: int) -> int:
    """Give a count; 0 where another program wrote the fact, and something else into it."""
    pair = fields.get(name)
    count = pair[side] if isinstance(pair, list) and len(pair) == len(_SIDES) else 0
    return count if type(count) is int else 0


def table(dump: Recording, number: int | None = None) -> Iterator[str]:
    """A line for each side, nothing where nothing was put right."""
    rows = found(dump, number)
    for first in islice(rows, 1):
        form = "{:>7}  {}" + "  {:>14}" * len(first[1])
        yield ""
        yield form.format("conn", "put right".ljust(len(_SIDES[0])), *first[1])
        for connection, *sides in chain([first], rows):
            for side, counts in zip(_SIDES, sides, strict=True):
                yield form.format(connection, side, *(f"{count:,}" for count in counts.values()))


def json_rows(dump: Recording) -> Iterator[dict[str, object]]:
    """Each connection for a program."""
    for connection, client, server in found(dump):
        yield {"connection": connection, "client": client, "server": server}


def json_of(dump: Recording, number: int) -> dict[str, Counts] | None:
    """One connection for a program, None where it was as it should be."""
    for _, client, server in found(dump, number):
        return {"client": client, "server": server}
    return None
