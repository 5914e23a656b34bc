"""`plg report`: a recording as a page to look at, one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli.import_ import Progress, Size
from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.words import counted, tell
from netplayground.errors import PlaygroundError

if TYPE_CHECKING:
    from netplayground.dump.recording import Recording


@click.command(
    "report",
    context_settings={"show_default": True},
    help="""Make a page of the recording FILE: one HTML file, which asks no network for anything.

    It holds what was said as far as there is room for it: each direction of each connection from its
    beginning. What is left out is said on the page.

    \b
    plg report dump.traffic -o report.html
    plg report dump.traffic --replay verdict.json -o report.html
    """,
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="HTML",
    type=FILE,
    help="The page to write.",
)
@click.option(
    "--replay",
    "replay_path",
    metavar="JSON",
    type=FILE,
    help="What plg --replay --report wrote (of a --sweep too): divergences are shown in their places.",
)
@click.option("--payload", type=Size(), default="16M", help="How much of what was said the page may hold.")
@debug_option
@click.argument("path", metavar="FILE", type=FILE)
def command(path: Path, output: Path, replay_path: Path | None, payload: int) -> None:
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.dump.appearing import appearing, check_distinct
    from netplayground.dump.recording import open_recording
    from netplayground.report.content import Room
    from netplayground.report.page import make_page

    check_distinct(output, *filter(None, (path, replay_path)))
    with appearing(output) as file:
        with open_recording(path) as recording, Progress() as progress:
            replays = () if replay_path is None else _read_replays(replay_path, recording)
            page = make_page(recording, path.name, Room(payload=payload), replays, progress.show)
        octets = page.encode()
        file.write(octets)
    tell(f"{output}: {counted(len(octets), 'byte')}")


def _read_replays(path: Path, recording: Recording) -> Sequence[Mapping[str, object]]:
    from netplayground.report.replayed import NotAReportError, parse_replays

    try:
        return parse_replays(path.read_bytes(), len(recording.connections))
    except NotAReportError as error:
        raise NotAReportError(f"cannot read {path} as the report of a replay: {error}") from error
    except OSError as error:
        raise PlaygroundError(f"cannot read {path}: {error.strerror}") from error
