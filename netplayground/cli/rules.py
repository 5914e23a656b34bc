"""Words for what may differ: --ignore, --echo, and the files that hold such rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from netplayground.cli.invocation import FILE
from netplayground.errors import PlaygroundError, UsageError

_LARGEST = 1 << 24  # octets of a file of rules

Function = TypeVar("Function", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--ignore",
        multiple=True,
        metavar="REGEX",
        help="Bytes that may differ, as a regular expression; repeatable.",
    ),
    click.option(
        "--ignore-file",
        "ignore_files",
        multiple=True,
        metavar="FILE",
        type=FILE,
        help="Such rules, one a line, as plg diff --learn writes them; repeatable.",
    ),
    click.option(
        "--echo",
        multiple=True,
        metavar="OFFSET:LEN@PORT",
        help="Bytes of a datagram to PORT that its answer repeats (DNS: 0:2@53); repeatable.",
    ),
)


def rule_options(command: Function) -> Function:
    """--ignore, --ignore-file, --echo."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def with_files(
    ignore: Sequence[str], echo: Sequence[str], files: Sequence[Path]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of --ignore and --echo, and those that the files hold."""
    from netplayground.replay.rules import parse_rules

    read = [parse_rules(_octets(path), str(path)) for path in files]
    return (
        (*ignore, *(os.fsdecode(text) for rules in read for text in rules.ignore)),
        (*echo, *(str(rule) for rules in read for rule in rules.echo)),
    )


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST + 1)
    except OSError as error:
        raise PlaygroundError(f"cannot read {path}: {error.strerror}") from error
    if len(octets) > _LARGEST:
        raise UsageError(f"cannot read {path} as rules: longer than {_LARGEST >> 20} MiB")
    return octets
