"""`plg record`, `plg --record`: a run under the recorder, and at its end a table of what happened."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import replace
from pathlib import Path

import click

from netplayground.cli.invocation import Invocation, debug_option
from netplayground.cli.summary import summary_lines
from netplayground.cli.words import tell
from netplayground.session.plan import (
    DEFAULT_GRACE_S,
    DEFAULT_MTU,
    DEFAULT_SUBNET,
    Caller,
    RecordOptions,
    User,
    plan_record,
)


@click.command(
    "record",
    context_settings={"show_default": True},
    help="""Run every COMMAND in a network of its own and record what they say to one another.

    A COMMAND is one line for the shell, with a name if it has the form 'NAME: COMMAND'; else it is p1, p2, …
    Process n has the n-th address of the subnet.

    \b
    plg --record -f dump.traffic --ready db --until test \\
        "db: redis-server --bind 0.0.0.0 --protected-mode no" "test: redis-cli -h db ping"
    """,
)
@click.option(
    "-f", "--file", "dump_path", required=True, type=click.Path(path_type=Path), help="The dump to write."
)
@click.option("-s", "--subnet", default=DEFAULT_SUBNET, help="Where the IPv4 addresses are taken from.")
@click.option("-u", "--uid", metavar="USER", help="Run the commands as this user (name or number).")
@click.option("-g", "--gid", metavar="GROUP", help="… and as this group.  [default: the user's]")
@click.option("-k", "--kill", "kill_signal", metavar="SIGNAL", default="TERM", help="What ends a process.")
@click.option(
    "--grace", "grace_s", type=float, default=DEFAULT_GRACE_S, metavar="SECONDS", help="… before SIGKILL."
)
@click.option(
    "--ready",
    multiple=True,
    metavar="NAME[:PORT]",
    help="Processes after NAME start once it listens; repeatable.",
)
@click.option("--until", multiple=True, metavar="NAME", help="The run ends when NAME exits; repeatable.")
@click.option("--timeout", "timeout_s", type=float, metavar="SECONDS", help="End the run after so long.")
@click.option("--mtu", type=int, default=DEFAULT_MTU, help="Of every process's link.")
@click.option("--keep-hostname", is_flag=True, help="The host's name instead of the process's.")
@click.option(
    "-v",
    "--verbose",
    "verbosity",
    count=True,
    show_default=False,
    help="A line for each connection; -vv: for each packet.",
)
@click.option("--nolog", is_flag=True, help="No such lines.")
@debug_option
@click.argument("commands", metavar="COMMAND...", nargs=-1)
@click.pass_obj
def command(invocation: Invocation, /, commands: tuple[str, ...], nolog: bool, **options: object) -> int:
    wanted = RecordOptions(**options, debug=invocation.debug)  # type: ignore[arg-type]
    if nolog:
        wanted = replace(wanted, verbosity=0)
    plan = plan_record(wanted, commands, _caller())
    from netplayground.session.record import record  # heavy: the sandbox and all that moves traffic

    summary = record(plan, tell)
    for line in summary_lines(summary):
        tell(line)
    if summary.reason is not None:
        tell(summary.reason)
    return summary.status


def _caller() -> Caller:
    return Caller(os.geteuid(), os.getegid(), _find_user, _find_group)


def _find_user(name: str | int) -> User:
    entry = pwd.getpwuid(name) if isinstance(name, int) else pwd.getpwnam(name)
    return User(entry.pw_uid, entry.pw_gid)


def _find_group(name: str) -> int:
    return grp.getgrnam(name).gr_gid
