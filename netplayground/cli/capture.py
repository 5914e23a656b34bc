"""`plg capture`: what crosses an interface becomes a dump, as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli.footer import Footer
from netplayground.cli.import_ import Seconds, Size, summary_lines
from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.places import write_all
from netplayground.cli.progress import terminal
from netplayground.cli.words import counted, tell
from netplayground.errors import PlaygroundError

if TYPE_CHECKING:
    from netplayground.session.capture import Captured, Status

_FIRST_S = 0.5
_LINE_S = 10.0


@click.command(
    "capture",
    context_settings={"show_default": True},
    help="""Make a dump of what crosses an interface, until ^C; as `plg import` does of a file.

    It needs the right to capture: root, or CAP_NET_RAW. What the kernel had to drop, because plg or the disk
    was too slow, is counted and said.

    \b
    plg capture -i eth0 -f dump.traffic --filter "tcp port 5432" --name 10.1.2.3=db
    """,
)
@click.option("-i", "--interface", required=True, metavar="IFACE", help="Where to listen: eth0, lo, or any.")
@click.option("-f", "--file", "dump_path", required=True, type=FILE, help="The dump to write.")
@click.option(
    "--filter",
    "expression",
    metavar="BPF",
    default="",
    show_default=False,
    help="Only these packets, in tcpdump's language.",
)
@click.option(
    "--name", "names", metavar="ADDRESS=NAME", multiple=True, help="What an address is called; repeatable."
)
@click.option("--timeout", "timeout_s", type=Seconds(0), metavar="SECONDS", help="End after so long.")
@click.option("--count", type=click.IntRange(min=1), metavar="PACKETS", help="End after so many packets.")
@click.option(
    "--ring",
    type=Size(),
    default="64M",
    help="Memory in which packets wait for plg: for a disk that falters now and then.",
)
@click.option("-p", "--no-promiscuous", is_flag=True, help="Only what is for this host.", show_default=False)
@click.option("-v", "--verbose", is_flag=True, help="A line each 10 s: packets, drops.", show_default=False)
@debug_option
def command(
    interface: str,
    dump_path: Path,
    expression: str,
    names: tuple[str, ...],
    timeout_s: float | None,
    count: int | None,
    ring: int,
    no_promiscuous: bool,
    verbose: bool,
) -> int:
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.capture.hosts import parse_names
    from netplayground.session.capture import CaptureOptions, capture

    options = CaptureOptions(
        interface=interface,
        dump=dump_path,
        filter=expression,
        names=parse_names(names),
        ring=ring,
        promiscuous=not no_promiscuous,
        timeout_s=timeout_s,
        packets=count,
    )
    with Ticker(verbose) as ticker:
        captured = capture(options, ticker.show)
    for line in captured_lines(dump_path, captured):
        tell(line)
    return PlaygroundError.exit_status if captured.trouble else 0


def captured_lines(path: Path, captured: Captured) -> Iterator[str]:
    """What there is, what the kernel had no room for, and why it ended if nobody asked for that."""
    drops, let_through = captured.counts.drops, captured.counts.packets
    share = f" of {let_through:,}; the streams that lack them say so" if drops else ""
    first, *rest = summary_lines(path, captured.imported)
    yield first
    yield f"{counted(drops, 'packet')} dropped by the kernel{share}"
    yield from rest
    if captured.trouble:
        yield captured.trouble


class Ticker:
    """On a terminal a line that is written over; else, where it is asked for, a line each ten seconds."""

    def __init__(self, verbose: bool) -> None:
        self._terminal = terminal()
        self._footer: Footer | None = None
        self._verbose = verbose
        self._next = time.monotonic() + (_FIRST_S if self._terminal is not None else _LINE_S)

    def __enter__(self) -> Ticker:
        return self

    def __exit__(self, *_ended: object) -> None:
        if self._footer is not None:
            self._footer.erase()

    def show(self, status: Status) -> None:
        """Say how far it has come, if it is time to."""
        if time.monotonic() < self._next:
            return
        figures = (
            counted(status.packets, "packet"),
            f"{status.drops:,} dropped",
            counted(status.connections, "connection"),
            f"{counted(status.size, 'byte')} in the dump",
        )
        if self._terminal is not None:
            self._draw(self._terminal, figures)
        elif self._verbose:
            self._next += _LINE_S
            tell(", ".join(figures))

    def _draw(self, descriptor: int, figures: Sequence[str]) -> None:
        from netplayground.cli.view import packed  # imports rich

        self._footer = self._footer or Footer(descriptor, write_all)
        room = self._footer.room()
        if room is not None:
            self._footer.draw(packed(figures, room[0])[: room[1]])
