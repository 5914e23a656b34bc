"""Commands from a Procfile, as foreman and honcho read it, and the environment from the `.env` beside it.

A line is `name: command`; empty lines and those that begin with `#` say nothing, any other is refused. The
environment is read as honcho reads it: KEY=VALUE a line, with quotes as in a shell, `\\n` and `\\t` for line
ends and tabs; a line that is none of that is passed over. What shells read beyond that is read, too: `export`
before a key, and an empty value.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from netplayground.errors import UsageError
from netplayground.session.plan import are_named, name_commands

PORT = "5000"
"""What $PORT is where nobody says otherwise, as with foreman; the same for all: each has its own address."""

_LINE = re.compile(r"(?P<name>[^:\s#][^:\s]*):\s*(?P<command>.+)")
_KEY = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_NO_NAME = "is no name of a process: a letter, then at most 62 letters, digits, '-' or '_'"


def with_procfile(path: Path | None, commands: Sequence[str]) -> Sequence[str]:
    """The commands of a run: those of the Procfile, and the given ones, which take the place of a line of
    their name or come after all lines. The `.env` beside it goes into plg's own environment, which the
    processes get. UsageError for what cannot be read."""
    if path is None:
        return commands
    chosen = parse_procfile(_read(path), str(path))
    if commands and not are_named(commands):
        raise UsageError(f"cannot add {commands[0]!r} to {path}: a command beside a Procfile has a name")
    for name, command in name_commands(commands) if commands else ():
        chosen[name] = command
    environment = path.with_name(".env")
    if environment.exists():
        os.environ.update(parse_environment(_read(environment), str(environment)))
    os.environ.setdefault("PORT", PORT)
    return [f"{name}: {command}" for name, command in chosen.items()]


def parse_procfile(text: str, path: str) -> dict[str, str]:
    """Each command by its name, in order; UsageError with the number of a line that is none."""
    commands: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise UsageError(f"cannot read {path}: line {number} is not like 'name: command'")
        if not are_named([f"{match['name']}: {match['command']}"]):
            raise UsageError(f"cannot read {path}: line {number}: {match['name']!r} {_NO_NAME}")
        if match["name"] in commands:
            raise UsageError(f"cannot read {path}: line {number} names {match['name']} a second time")
        commands[match["name"]] = match["command"]
    if not commands:
        raise UsageError(f"cannot read {path}: no process is in it")
    return commands


def parse_environment(text: str, path: str) -> dict[str, str]:
    """The variables of an `.env`; UsageError with the number of a line whose quotes do not end."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            words = list(shlex.shlex(line.rstrip("\r"), posix=True))
        except ValueError as error:
            raise UsageError(f"cannot read {path}: line {number}: {str(error).lower()}") from error
        if words[:1] == ["export"] and words[1:2] != ["="]:
            del words[0]
        if len(words) < 2 or words[1] != "=" or _KEY.fullmatch(words[0]) is None:
            continue
        values[words[0]] = "".join(words[2:]).replace(r"\n", "\n").replace(r"\t", "\t")
    return values


def _read(path: Path) -> str:
    """A file's text, without the mark that editors of Windows begin it with; octets that are no UTF-8 are
    kept as those of a command line are."""
    try:
        octets = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if b"\0" in octets:
        raise UsageError(f"cannot read {path}: no text, a zero byte is in it")
    return os.fsdecode(octets.removeprefix(codecs.BOM_UTF8))
