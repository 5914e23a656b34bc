"""`plg record`, `plg --record`: a run under the recorder, and at its end a table of what happened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from netplayground.cli.invocation import FILE, Invocation, debug_option
from netplayground.cli.procfile import with_procfile
from netplayground.cli.run_options import run_options
from netplayground.cli.summary import summary_lines
from netplayground.cli.words import tell
from netplayground.dump.appearing import check_distinct
from netplayground.session.caller import caller
from netplayground.session.plan import DEFAULT_SUBNET, RecordOptions, plan_record


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
@click.option("-f", "--file", "dump_path", required=True, type=FILE, help="The dump to write.")
@click.option("-s", "--subnet", default=DEFAULT_SUBNET, help="Where the IPv4 addresses are taken from.")
@run_options
@debug_option
@click.argument("commands", metavar="COMMAND...", nargs=-1)
@click.pass_obj
def command(
    invocation: Invocation,
    /,
    commands: tuple[str, ...],
    procfile: Path | None,
    output: Path | None,
    view: bool | None,
    nolog: bool,
    **options: object,
) -> int:
    wanted = RecordOptions(**options, debug=invocation.debug)  # type: ignore[arg-type]
    if nolog:
        wanted = replace(wanted, verbosity=0)
    plan = plan_record(wanted, with_procfile(procfile, commands), caller())
    if procfile is not None:
        check_distinct(plan.dump_path, procfile, procfile.with_name(".env"))
    from netplayground.cli.outputs import Outputs  # heavy: the sandbox and all that moves traffic
    from netplayground.session.record import record

    names = [process.name for process in plan.processes]
    with Outputs(names, output, [plan.dump_path], view) as outputs:
        summary = record(plan, outputs.say, outputs.streams, watch=outputs.watch)
    summary = replace(summary, trouble=summary.trouble or outputs.trouble)
    for line in summary_lines(summary):
        tell(line)
    if summary.reason is not None:
        tell(summary.reason)
    return summary.status
