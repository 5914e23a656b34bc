"""`plg export`: a recording as a capture, as a file for each direction of a connection, as lines of JSON."""

from __future__ import annotations

from pathlib import Path

import click

from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.progress import Progress
from netplayground.cli.words import counted, printable, tell, write_lines
from netplayground.errors import UsageError

_LEAST_MTU = 576


@click.command(
    "export",
    help="""Write what the recording FILE holds for other programs.

    \b
    plg export dump.traffic -o out.pcapng     a capture, with right checksums (or .pcap)
    plg export dump.traffic -o streams/       a file for each direction of each connection, as tcpflow
    plg export dump.traffic --json            a line for each chunk
    plg export dump.traffic -o tables/ --parquet
    """,
)
@click.option(
    "-o", "--output", "output", metavar="OUT", help="out.pcapng, out.pcap, or a folder (DIR/); see above."
)
@click.option(
    "--conn", "numbers", type=int, metavar="N", multiple=True, help="Only connection N; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="A line a chunk, to OUT or stdout.")
@click.option("--parquet", "as_tables", is_flag=True, help="Tables for DuckDB and its like, into a folder.")
@click.option(
    "--mtu",
    type=click.IntRange(_LEAST_MTU, 65535),
    default=1500,
    show_default=True,
    help="Packets of a capture are no longer.",
)
@debug_option
@click.argument("path", metavar="FILE", type=FILE)
def command(
    path: Path, output: str | None, numbers: tuple[int, ...], as_json: bool, as_tables: bool, mtu: int
) -> None:
    if as_tables and (as_json or output is None):
        raise UsageError("cannot export tables: --parquet needs a folder, -o DIR/, and no --json")
    if output is None and not as_json:
        raise UsageError("cannot export: say where to with -o, or --json")
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.capture.exporting import export_capture, export_streams, json_lines
    from netplayground.dump.appearing import appearing, check_distinct
    from netplayground.dump.recording import open_recording

    if output is not None:
        check_distinct(Path(output), path)
    with open_recording(path) as recording, Progress() as progress:
        wanted = _wanted(numbers, len(recording.connections))
        if as_json:
            if output is None:
                write_lines(json_lines(recording, wanted))
                return
            with appearing(Path(output)) as file:
                lines = json_lines(recording, wanted, progress.show)
                file.writelines(f"{line}\n".encode() for line in lines)
            return
        assert output is not None
        target = Path(output)
        if as_tables:
            from netplayground.report.tables import export_tables

            said = "row", export_tables(recording, target, printable(str(path)), wanted, progress.show)
        elif target.suffix in (".pcap", ".pcapng") and not target.is_dir():
            said = "packet", export_capture(recording, target, wanted, mtu, progress.show)
        elif target.is_dir() or output.endswith("/"):
            said = "file", export_streams(recording, target, wanted, progress.show)
        else:
            raise UsageError(f"cannot tell what {output} is to be: NAME.pcapng, NAME.pcap, or DIR/")
    what, count = said
    tell(f"{target}: {counted(count, what)}")


def _wanted(numbers: tuple[int, ...], there: int) -> frozenset[int] | None:
    for number in numbers:
        if not 0 <= number < there:
            raise UsageError(
                f"cannot export connection {number}: the recording holds {counted(there, 'connection')}"
            )
    return frozenset(numbers) or None
