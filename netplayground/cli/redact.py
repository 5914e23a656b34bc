"""`plg redact`: a copy of a dump without its secrets, which can be replayed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.progress import Progress
from netplayground.cli.words import counted, printable, tell
from netplayground.errors import PlaygroundError

if TYPE_CHECKING:
    from netplayground.report.redaction import Redacted


@click.command(
    "redact",
    help="""Write a copy of the dump FILE in which each byte that a REGEX matches is an 'x'.

    A REGEX is one on bytes. It is searched in all that one side of a connection says, across its chunks, in
    each datagram, and in the commands; a match is at most 64 KiB long. Nothing is unpacked or decrypted. A
    replay of the copy lets live processes say any bytes in these places, but as many.

    \b
    plg redact dump.traffic -o clean.traffic --pattern '(?<=password=)[^&]*'
    """,
)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    type=FILE,
    help="The dump to write; an existing file is replaced once it is whole.",
)
@click.option(
    "--pattern", "patterns", required=True, multiple=True, metavar="REGEX", help="What is secret; repeatable."
)
@debug_option
@click.argument("path", metavar="FILE", type=FILE)
def command(path: Path, output: Path, patterns: tuple[str, ...]) -> None:
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.dump.appearing import appearing, check_distinct, is_stream
    from netplayground.replay.masks import parse_masks
    from netplayground.report.redaction import redact

    masks = parse_masks([os.fsencode(text) for text in patterns], "--pattern")
    check_distinct(output, path)
    if is_stream(output):
        raise PlaygroundError(f"cannot write {output}: not a regular file")
    with appearing(output) as file, Progress() as progress:
        done = redact(path, output, file.fileno(), masks, progress.show)
    for line in _lines(path, output, done):
        tell(line)


def _lines(path: Path, output: Path, done: Redacted) -> Iterator[str]:
    """What was done, and what its user should know of."""
    parts = [f"{counted(done.bytes, 'byte')} in {counted(done.spans, 'place')} replaced"]
    if done.commands:
        parts.append(f"{counted(done.commands, 'command')} changed")
    if done.facts:
        parts.append(f"{counted(done.facts, 'fact')} changed")
    yield f"{output}: {', '.join(parts)}"
    if done.cut:
        matches = counted(done.cut, "match is", "matches are")
        yield f"{matches} 64 KiB long, and no match is longer: what stands behind is not replaced"
    if done.unreadable:
        streams = counted(done.unreadable, "stream")
        yield f"{streams} with something packed or encrypted (gzip, zstd, TLS): nothing was looked for inside"
    if done.original:
        yield f"{path} is of the original program, {output} is a dump of plg"
    if done.ambiguous:
        yield printable(done.ambiguous)
    if done.missing:
        yield f"torn as {path} is, missing: {printable(done.missing)}"
