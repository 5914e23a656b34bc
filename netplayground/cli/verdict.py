"""The verdict of a replay in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from netplayground.cli.words import counted, hex_rows, printable
from netplayground.replay.verdict import Divergence, Verdict

if TYPE_CHECKING:
    from netplayground.session.replay import ReplaySummary

_MOST_SHOWN = 3
_MOST_LEFT_OUT = 10


def verdict_lines(summary: ReplaySummary) -> Iterator[str]:
    """What was played and matched; the first divergences, with a window; notes."""
    verdict = summary.verdict
    for divergence in verdict.divergences[:_MOST_SHOWN]:
        yield from divergence_lines(divergence)
    if verdict.divergence_count > _MOST_SHOWN:
        yield f"… and {counted(verdict.divergence_count - _MOST_SHOWN, 'divergence')} more"
    yield from note_lines(verdict)
    if verdict.missing:
        yield f"the dump is torn, it lacks {verdict.missing}"
    yield f"{summary.run.dump_path}: {share_words(verdict)}, {summary.run.duration_s:.3f} s"


def note_lines(verdict: Verdict) -> Iterator[str]:
    """What else was not quite the same, and what could not be compared."""
    for note, number in verdict.notes.items():
        yield f"note: {note}: {number:,}"
    yield from (f"warning: {printable(warning)}" for warning in verdict.warnings)
    yield from _left_out_lines(verdict)


def _left_out_lines(verdict: Verdict) -> Iterator[str]:
    """Connections that could not be played, and what share of the recording they are."""
    if not verdict.left_out:
        return
    size = sum(each.bytes for each in verdict.left_out)
    connections = len(verdict.left_out)
    share = connections / (connections + verdict.connections)
    yield f"left out: {counted(connections, 'connection')} of {counted(size, 'byte')}, {share:.1%} of all"
    for each in verdict.left_out[:_MOST_LEFT_OUT]:
        ends = f"{each.connection.client} -> {each.connection.server}"
        yield f"  connection {each.connection.id} {ends}: {each.why}"
    if connections > _MOST_LEFT_OUT:
        yield f"  … and {connections - _MOST_LEFT_OUT:,} more"


def share_words(verdict: Verdict) -> str:
    """'100 % of 3 connections and 1,234 bytes as recorded, 2 rematched'."""
    share = min(verdict.connection_share, verdict.byte_share, verdict.datagram_share)
    what = [counted(verdict.connections, "connection"), counted(verdict.bytes, "byte")]
    if verdict.datagrams:
        what.append(counted(verdict.datagrams, "datagram"))
    parts = [f"{percent(share)} of {', '.join(what[:-1])} and {what[-1]} as recorded"]
    figures = {
        "reordered": verdict.reordered,
        "rematched": verdict.rematched,
        "bytes ignored": verdict.masked_bytes,
    }
    parts += [f"{number:,} {what}" for what, number in figures.items() if number]
    if verdict.has_diverged:
        parts.append(counted(verdict.divergence_count, "divergence"))
    return ", ".join(parts)


def percent(share: float) -> str:
    """Rounded down, so that 100 % is said only of the whole."""
    return f"{int(share * 1000) / 10:g} %"


def divergence_lines(divergence: Divergence, what: str = "diverged") -> Iterator[str]:
    """Where a process left the tape, and what it said there beside what was recorded."""
    yield f"{what}: {printable(divergence.describe())}"
    if divergence.expected or divergence.actual:
        yield from _window("expected", divergence.window, divergence.expected)
        yield from _window("actual", divergence.window, divergence.actual)


def _window(what: str, start: int, data: bytes) -> Iterator[str]:
    if not data:
        yield f"  {what:8}  nothing more"
    for at, row in hex_rows(data):
        yield f"  {what if not at else '':8}  {start + at:8d}  {row}"
