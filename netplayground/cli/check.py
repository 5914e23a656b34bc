"""`plg check`: is a dump whole and complete?

A torn one is whole up to where plg was killed: that is said, and is no error (status 0). Damage is (125).
"""

from __future__ import annotations

from pathlib import Path

import click

from netplayground.cli.invocation import debug_option


@click.command(
    "check", help="Say whether the dump FILE is whole and complete: every block, every CRC, the index."
)
@debug_option
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    from netplayground.dump.check import (
        check_dump,
    )  # imported where it is used: plg --record starts without it

    print(check_dump(path))
