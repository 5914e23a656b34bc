"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netplayground.cli.words import columns, counted, printable, shortened
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic, signal_name

_COMMAND_WIDTH = 60


def summary_lines(summary: RunSummary) -> Iterator[str]:
    """Processes and how they ended, connections, bytes, drops, the dump; then what else is worth knowing."""
    yield from process_lines(summary)
    yield ", ".join(traffic_words(summary.traffic))
    yield f"{summary.dump_path}: {counted(summary.dump_bytes, 'byte')}, {summary.duration_s:.3f} s"
    yield from summary_notes(summary)


def process_lines(summary: RunSummary) -> Iterator[str]:
    """Processes and how they ended."""
    yield from columns(
        [("process", "ended", "command"), *(_process_row(process) for process in summary.processes)]
    )


def summary_notes(summary: RunSummary) -> Iterator[str]:
    """What else is worth knowing."""
    if summary.interrupted_by is not None:
        yield f"ended by {signal_name(summary.interrupted_by)}"
    yield from map(printable, summary.notes)


def _process_row(process: ProcessOutcome) -> tuple[str, str, str]:
    return process.name, process.describe(), shortened(process.command, _COMMAND_WIDTH)


def traffic_words(traffic: Traffic) -> Iterator[str]:
    """What crossed the wire; what did not happen is left out, but for bytes and drops."""
    failed = {
        "refused": traffic.refused,
        "unreachable": traffic.unreachable,
        "unanswered": traffic.unanswered,
        "aborted": traffic.aborted,
    }
    details = ", ".join(f"{number:,} {word}" for word, number in failed.items() if number)
    yield counted(traffic.connections, "connection") + (f" ({details})" if details else "")
    yield f"{counted(traffic.bytes_to_server, 'byte')} to servers"
    yield f"{counted(traffic.bytes_to_client, 'byte')} to clients"
    if traffic.datagrams:
        yield counted(traffic.datagrams, "datagram")
    yield drop_words(traffic.drops)


def drop_words(drops: Mapping[str, Mapping[str, int]]) -> str:
    """How many packets were dropped, of whom and why: '3 dropped (p1: 2 in a full queue, 1 malformed)'."""
    guilty = {name: {why: n for why, n in counts.items() if n} for name, counts in drops.items()}
    parts = [
        f"{name}: {', '.join(f'{number:,} {why}' for why, number in counts.items())}"
        for name, counts in guilty.items()
        if counts
    ]
    total = sum(sum(counts.values()) for counts in guilty.values())
    return f"{total:,} dropped" + (f" ({'; '.join(parts)})" if parts else "")
