"""The options that recordings and replays share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from netplayground.cli.invocation import FILE
from netplayground.session.plan import DEFAULT_GRACE_S, DEFAULT_MTU

Function = TypeVar("Function", bound=Callable[..., object])

_OPTIONS = (
    click.option(
        "--procfile",
        type=FILE,
        metavar="FILE",
        help="The commands, a line 'name: command' each, as honcho has them, and the environment from .env "
        "beside it; a COMMAND takes the place of the line of its name, or comes after all lines.",
    ),
    click.option("-u", "--uid", metavar="USER", help="Run the commands as this user (name or number)."),
    click.option("-g", "--gid", metavar="GROUP", help="… and as this group.  [default: the user's]"),
    click.option(
        "-k", "--kill", "kill_signal", metavar="SIGNAL", default="TERM", help="What ends a process."
    ),
    click.option(
        "--grace", "grace_s", type=float, default=DEFAULT_GRACE_S, metavar="SECONDS", help="… before SIGKILL."
    ),
    click.option(
        "--ready",
        multiple=True,
        metavar="NAME[:PORT]",
        help="Processes after NAME start once it listens; repeatable.",
    ),
    click.option("--until", multiple=True, metavar="NAME", help="The run ends when NAME exits; repeatable."),
    click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="End the run after so long."),
    click.option("--mtu", type=int, default=DEFAULT_MTU, help="Of every process's link."),
    click.option("--keep-hostname", is_flag=True, help="The host's name instead of the process's."),
    click.option(
        "--output",
        type=FILE,
        metavar="DIR",
        help="What each process says to its stdout and stderr goes to DIR/NAME.log, as it is.",
    ),
    click.option(
        "--view/--no-view",
        default=None,
        help="Show on a terminal how the run goes.  [default: unless one process alone has the terminal]",
    ),
    click.option(
        "-v",
        "--verbose",
        "verbosity",
        count=True,
        show_default=False,
        help="A line for each connection; -vv: for each packet.",
    ),
    click.option("--nolog", is_flag=True, help="No such lines."),
)


def run_options(command: Function) -> Function:
    """The options of every run."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
