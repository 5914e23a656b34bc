"""`plg check`: is a dump whole and complete?

A torn one is whole up to where plg was killed: that is said, and is no error (status 0). Damage is (125).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.progress import Progress
from netplayground.cli.words import counted, printable, write_lines

if TYPE_CHECKING:
    from netplayground.dump.check import CheckReport


@click.command(
    "check", help="Say whether the dump FILE is whole and complete: every block, every CRC, the index."
)
@debug_option
@click.argument("path", metavar="FILE", type=FILE)
def command(path: Path) -> None:
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.dump.check import check_dump

    with Progress() as progress:
        report = check_dump(path, progress.show)
    write_lines(report_lines(path, report))


def report_lines(path: Path, report: CheckReport) -> Iterator[str]:
    """What was found in a dump that is not damaged."""
    if report.missing:
        yield f"{path}: torn, but what is there is whole"
        yield f"missing: {printable(report.missing)}"
    elif not report.windows:
        yield f"{path}: whole; the original program wrote no CRC-32s, no index and no end"
    else:
        sums = counted(report.windows, "CRC-32 is", "CRC-32s are")
        yield f"{path}: complete and whole; {sums} right, the index agrees with the blocks"
    if report.ambiguous:
        yield f"ambiguous: {printable(report.ambiguous)}"
    totals = report.totals
    to_servers, to_clients = totals.bytes
    datagrams = [counted(totals.datagrams, "datagram")] if totals.datagrams else []
    yield ", ".join(
        [
            counted(totals.connections, "connection"),
            f"{counted(to_servers, 'byte')} to servers",
            f"{counted(to_clients, 'byte')} to clients",
            *datagrams,
            # In the index facts and datagrams are events too; here an event is what `plg show` lists of a
            # connection by its packet.
            f"{counted(totals.events - totals.facts - totals.datagrams, 'event')} in packets",
            counted(totals.facts, "fact"),
            f"{counted(report.size, 'byte')} of file",
        ]
    )
