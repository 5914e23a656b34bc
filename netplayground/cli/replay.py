"""`plg replay`, `plg --replay`: a recording played to live processes, and at its end the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from netplayground.cli.invocation import FILE, Invocation, debug_option
from netplayground.cli.procfile import with_procfile
from netplayground.cli.rules import rule_options, with_files
from netplayground.cli.run_options import run_options
from netplayground.cli.summary import process_lines, summary_notes
from netplayground.cli.verdict import verdict_lines
from netplayground.cli.words import tell
from netplayground.session.caller import caller
from netplayground.session.plan import DEFAULT_SUBNET, RecordOptions


@click.command(
    "replay",
    context_settings={"show_default": True},
    help="""Run the COMMANDs of a recording again and let each hear exactly what it heard.

    '-' in place of a COMMAND: that process does not run, it is played from the dump. With names, a process
    that is not named is played from the dump.

    \b
    plg --replay -f dump.traffic - "redis-cli -h 10.0.0.1 ping"
    plg --replay -f dump.traffic "test: redis-cli -h db ping"
    plg replay --sweep -f dump.traffic
    """,
)
@click.option("-f", "--file", "dump_path", required=True, type=FILE, help="The dump to play.")
@click.option("-s", "--subnet", help="Where the IPv4 addresses are taken from.  [default: the recording's]")
@click.option(
    "--name", "names", metavar="ADDRESS=NAME", multiple=True, help="What an address of a capture is called."
)
@click.option("--speed", metavar="X", help="Recorded time is divided by X; 'max' = no waiting.  [default: 1]")
@click.option("--flood", is_flag=True, help="Give everything at once: neither time nor order.")
@rule_options
@click.option(
    "--udp",
    type=click.Choice(["strict", "lossy", "off"]),
    default="lossy",
    help="Datagrams: one by one; forgiving what a network loses and repeats; or not played at all.",
)
@click.option(
    "--patience",
    "patience_s",
    type=float,
    default=0.2,
    metavar="SECONDS",
    help="How much longer than recorded a process may idle before something else goes first.",
)
@click.option(
    "--stall",
    "stall_s",
    type=float,
    default=10.0,
    metavar="SECONDS",
    help="… before the run ends, because nothing goes on; 0 = never.",
)
@click.option("--strict-order", is_flag=True, help="Another order than recorded is a divergence.")
@click.option(
    "--on-divergence",
    type=click.Choice(["fail", "warn", "stop"]),
    default="fail",
    help="Status 3 at the end, or 0, or end the run at once.",
)
@click.option("--report", "report_path", type=FILE, metavar="FILE", help="The verdict as JSON.")
@click.option(
    "--sweep", is_flag=True, help="Each process alone, live, against the rest played from the dump."
)
@run_options
@debug_option
@click.argument("commands", metavar="COMMAND...", nargs=-1)
@click.pass_obj
def command(invocation: Invocation, /, **words: object) -> int:
    return _replay(invocation, **words)  # type: ignore[arg-type]


def _replay(
    invocation: Invocation,
    commands: Sequence[str],
    procfile: Path | None,
    dump_path: Path,
    subnet: str | None,
    names: tuple[str, ...],
    speed: str | None,
    flood: bool,
    ignore: tuple[str, ...],
    ignore_files: tuple[Path, ...],
    udp: str,
    echo: tuple[str, ...],
    patience_s: float,
    stall_s: float,
    strict_order: bool,
    on_divergence: str,
    report_path: Path | None,
    output: Path | None,
    view: bool | None,
    sweep: bool,
    nolog: bool,
    **options: object,
) -> int:
    from netplayground.cli.outputs import Outputs  # heavy, as what follows
    from netplayground.cli.playable import open_playable
    from netplayground.cli.report_file import check_report, write_report
    from netplayground.session.replay import replay
    from netplayground.session.replay_plan import ReplayWords, plan_pace, plan_replay

    ignore, echo = with_files(ignore, echo, ignore_files)
    pace = plan_pace(
        ReplayWords(speed, flood, patience_s, stall_s, strict_order, on_divergence, ignore, udp, echo)
    )
    commands = with_procfile(procfile, commands)
    with open_playable(dump_path, names) as recording:
        if report_path is not None:
            check_report(report_path, dump_path)
        if sweep:
            from netplayground.cli.sweep import given_words, sweep_through

            options_given = given_words(click.get_current_context())
            return sweep_through(dump_path, recording.processes, commands, options_given, report_path)
        wanted = RecordOptions(
            dump_path,
            subnet=subnet
            or next((text for text in recording.run.subnets if ":" not in text), DEFAULT_SUBNET),
            debug=invocation.debug,
            **options,  # type: ignore[arg-type]
        )
        if nolog:
            wanted = replace(wanted, verbosity=0)
        plan = plan_replay(wanted, commands, recording.processes, caller(), keeps_addresses=not subnet)
        if recording.ambiguous:
            tell(f"ambiguous: {recording.ambiguous}")
        live = [process.name for process in plan.processes if process.is_live]
        kept = [path for path in (dump_path, report_path) if path is not None]
        with Outputs(live, output, kept, view) as outputs:
            summary = replay(plan, pace, recording, outputs.say, outputs.streams, watch=outputs.watch)
    summary = replace(summary, run=replace(summary.run, trouble=summary.run.trouble or outputs.trouble))
    for line in (*process_lines(summary.run), *verdict_lines(summary), *summary_notes(summary.run)):
        tell(line)
    if report_path is not None:
        write_report(report_path, summary)
    if summary.run.reason is not None:
        tell(summary.run.reason)
    return summary.run.status
