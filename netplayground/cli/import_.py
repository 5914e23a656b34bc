"""`plg import`: captures of tcpdump and its like become a dump, like any other."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.progress import Progress as Progress
from netplayground.cli.words import counted, printable, tell
from netplayground.errors import DumpError, PlaygroundError

if TYPE_CHECKING:
    from netplayground.capture.importing import Imported

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SECONDS_MOST = 1_000_000_000


class Size(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of bytes: 65536, 64K, 16M, 1G."""

    name = "BYTES"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        digits, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
        if not (digits.isascii() and digits.isdigit()):
            self.fail(f"{text!r} is not a number of bytes (65536, 64K, 16M, 1G)", param, ctx)
        return int(digits) * unit


class Seconds(click.FloatRange):
    """A number of seconds that a clock of nanoseconds can count."""

    def __init__(self, least: float) -> None:
        super().__init__(min=least, max=_SECONDS_MOST)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        # It is neither less than the least nor more than the most.
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return number


@click.command(
    "import",
    context_settings={"show_default": True},
    help="""Make a dump of CAPTUREs: pcap or pcapng, of tcpdump or Wireshark, packed with gzip or zstd or not.
    One dump of the original TUN recorder does as well.

    Each address becomes a process, h-10-1-2-3 or the name that --name gives it. Several captures are merged
    by time. '-' is stdin.

    \b
    tcpdump -i eth0 -w capture.pcap tcp
    plg import capture.pcap -f dump.traffic --name 10.1.2.3=db
    """,
)
@click.option("-f", "--file", "dump_path", required=True, type=FILE, help="The dump to write.")
@click.option(
    "--name", "names", metavar="ADDRESS=NAME", multiple=True, help="What an address is called; repeatable."
)
@click.option(
    "--overlap",
    type=click.Choice(["first", "last"]),
    default="first",
    help="Which bytes count where two packets that both wait for an earlier one disagree.",
)
@click.option(
    "--gaps",
    type=click.Choice(["skip", "wait"]),
    default="skip",
    help="Missing bytes: skip them once their receiver has acknowledged them, or wait until the end.",
)
@click.option(
    "--buffer", type=Size(), default="16M", help="How much of one connection may wait for missing bytes."
)
@click.option("--buffer-all", type=Size(), default="64M", help="… and of all connections together.")
@click.option(
    "--when-full",
    type=click.Choice(["skip", "cut", "fail"]),
    default="skip",
    help="Then: skip what is missing, cut the connection off there, or end with an error.",
)
@click.option(
    "--idle",
    "idle_s",
    type=Seconds(1),
    default=3600.0,
    metavar="SECONDS",
    help="What is missing in a connection that was silent for so long is not waited for any more.",
)
@debug_option
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True, type=FILE)
def command(
    captures: tuple[Path, ...],
    dump_path: Path,
    names: tuple[str, ...],
    overlap: str,
    gaps: str,
    buffer: int,
    buffer_all: int,
    when_full: str,
    idle_s: float,
) -> None:
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.capture.connection import Gaps
    from netplayground.capture.hosts import parse_names
    from netplayground.capture.importing import ImportOptions, import_captures
    from netplayground.capture.reassembly import Full, Limits
    from netplayground.capture.stream import Overlap
    from netplayground.dump.appearing import appearing, check_distinct, is_stream
    from netplayground.dump.writer import check_writable

    limits = Limits(
        connection=buffer, all=buffer_all, idle_ns=int(idle_s * 1_000_000_000), when_full=Full(when_full)
    )
    options = ImportOptions(
        captures=captures,
        dump=dump_path,
        names=parse_names(names),
        overlap=Overlap(overlap),
        gaps=Gaps(gaps),
        limits=limits,
    )
    if is_stream(dump_path):
        raise PlaygroundError(f"cannot write {dump_path}: not a regular file")
    check_distinct(dump_path, *captures)
    check_writable(dump_path)
    with appearing(dump_path) as file, Progress() as progress:
        lines = _converted(captures, dump_path, file.fileno()) or summary_lines(
            dump_path, import_captures(replace(options, fd=file.fileno()), progress.show)
        )
    for line in lines:
        tell(line)


def _converted(captures: tuple[Path, ...], dump_path: Path, fd: int) -> list[str]:
    """What is said of a dump of the original program, which is converted; nothing for what is none."""
    from netplayground.dump.converting import convert
    from netplayground.dump.recording import open_recording
    from netplayground.dump.tunreplay import TunReplayDump

    (path, *more) = captures
    if more or not path.is_file():
        return []
    try:
        recording = open_recording(path)
    except DumpError:  # what else it may be, the import will say
        return []
    with recording:
        if not isinstance(recording, TunReplayDump):
            return []
        written = convert(recording, dump_path, fd)
        said = f"{path} is a dump of the original program: {counted(written.connections, 'connection')}"
        problems = [printable(each) for each in (recording.ambiguous, recording.missing) if each]
        size = os.fstat(fd).st_size
    return [said, *problems, f"{dump_path}: {counted(size, 'byte')}"]


def summary_lines(path: Path, imported: Imported) -> Iterator[str]:
    """What there is, and then whatever is missing or strange."""
    written = imported.written
    to_servers, to_clients = written.bytes
    packets = [counted(imported.packets, "packet"), f"{counted(imported.segments, 'segment')} of TCP"]
    if imported.no_ip:
        packets.append(f"{imported.no_ip:,} not of IP")
    if imported.malformed:
        packets.append(f"{imported.malformed:,} malformed")
    if imported.fragments_dropped:
        packets.append(f"{counted(imported.fragments_dropped, 'fragment')} without the rest")
    yield ", ".join(packets)
    parts = [
        counted(written.connections, "connection"),
        f"{counted(imported.hosts, 'process', 'processes')}",
        f"{counted(to_servers, 'byte')} to servers",
        f"{counted(to_clients, 'byte')} to clients",
    ]
    if written.datagrams:
        parts.append(counted(written.datagrams, "datagram"))
    yield ", ".join(parts)
    if imported.incomplete:
        lacking = counted(imported.incomplete, "connection")
        missing = counted(imported.missing, "byte")
        yield f"incomplete: {lacking}, {missing} were not captured; a replay leaves them out"
    if imported.differing:
        yield f"{counted(imported.differing, 'byte')} came twice and not alike: an attack, or a broken sender"
    if imported.given_up:
        cut_off = counted(imported.given_up, "connection")
        yield f"cut off: {cut_off}, of which too much was waiting (--when-full)"
    for capture, length in imported.cut.items():
        yield f"{capture}: its end is missing, {counted(length, 'byte')} of a packet are left"
    yield f"{path}: {counted(imported.size, 'byte')}"
