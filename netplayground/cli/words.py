"""How values look in what plg prints: counts, sizes, times, columns, bytes; and the two ways out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

_HEX_WIDTH = 16


def tell(line: str) -> None:
    """One line of plg's own on stderr, marked, for the processes of a run speak there too.

    Where nobody listens any more (stderr was a pipe, and its reader is gone), plg goes on without a word.
    """
    if sys.stderr is None:
        return
    try:
        print(f"plg: {line}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = None  # what Python itself has where there is no stderr


def printable(text: str) -> str:
    """Text of a dump or a command line on one line, without power over a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def shortened(text: str, width: int) -> str:
    """At most `width` characters of printable text; an ellipsis stands for the rest."""
    text = printable(text[: width + 1])
    return text if len(text) <= width else text[: width - 1] + "…"


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """'1 connection', '1,234 connections'."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def seconds(nanoseconds: int) -> str:
    """'0.012345': to the microsecond, rounded down so that order stays visible."""
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000 // 1000:06d}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with every column but the last as wide as its widest word."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        cells = [word.ljust(width) for word, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def hex_lines(data: bytes) -> Iterator[str]:
    """Sixteen bytes a line: offset, hex, text."""
    for start, row in hex_rows(data):
        yield f"{start:08x}  {row}"


def hex_rows(data: bytes) -> Iterator[tuple[int, str]]:
    """Sixteen bytes a row, with where they begin: hex, text; a dot for what is no printable ASCII."""
    for start in range(0, len(data), _HEX_WIDTH):
        piece = data[start : start + _HEX_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        yield start, f"{piece.hex(' '):<{3 * _HEX_WIDTH}} {text}"


def write_lines(lines: Iterable[str]) -> None:
    """Lines to stdout as they come."""
    for line in lines:
        print(line)
