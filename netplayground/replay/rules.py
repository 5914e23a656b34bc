"""A file of rules for what may differ, as `plg diff --learn` writes it and `--ignore-file` reads it.

One rule a line: a regular expression on bytes, as --ignore has it; or `--echo OFFSET:LEN@PORT`. An empty
line and one that begins with `#` say nothing. In a rule a line feed is written `\\n`, a `#` at its beginning
`\\#`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from netplayground.errors import UsageError
from netplayground.replay.masks import parse_masks
from netplayground.replay.options import EchoRule, parse_echo_rule

_ECHO = b"--echo "


@dataclass(frozen=True, slots=True)
class Rules:
    """What a file of rules says."""

    ignore: tuple[bytes, ...] = ()
    echo: tuple[EchoRule, ...] = ()


def parse_rules(octets: bytes, name: str) -> Rules:
    """The rules of a file with this name; UsageError, with the line, for what is none."""
    ignore: list[bytes] = []
    echo: list[EchoRule] = []
    for number, line in enumerate(octets.split(b"\n"), 1):
        rule = line.removesuffix(b"\r")
        if not rule or rule.startswith(b"#"):
            continue
        try:
            if rule.startswith(_ECHO):
                echo.append(parse_echo_rule(rule[len(_ECHO) :].decode("ascii", "backslashreplace").strip()))
            else:
                parse_masks([rule])
                ignore.append(rule)
        except UsageError as error:
            raise UsageError(f"{error} (line {number} of {name})") from error
    return Rules(tuple(ignore), tuple(echo))


def emit_rules(rules: Rules, comments: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a file; `comments` are what stands before each rule of --ignore, in order."""
    for lines, text in zip(comments, rules.ignore, strict=True):
        yield from (f"# {line}" for line in lines)
        yield text.decode("ascii")
    for rule in rules.echo:
        yield f"--echo {rule}"
