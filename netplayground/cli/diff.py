"""`plg diff`: two recordings compared as a replay would; `--learn`: the rules for what may differ."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.progress import Progress
from netplayground.cli.rules import rule_options, with_files
from netplayground.cli.words import counted, printable, tell, write_lines
from netplayground.errors import UsageError

if TYPE_CHECKING:
    from netplayground.replay.options import ReplayOptions
    from netplayground.replay.tape import Tape
    from netplayground.report.diff import Difference
    from netplayground.report.lessons import Lesson

DIFFERENT = 3
_MOST_SHOWN, _MOST_TOLD = 10, 100_000
_SECOND = 1_000_000_000


@click.command(
    "diff",
    context_settings={"show_default": True},
    help="""Compare recording B with recording A, as a replay of A compares what processes say.

    Connections are matched whatever their order. Status 0: they say the same; 3: they differ.

    \b
    plg diff monday.traffic tuesday.traffic
    plg diff --learn -o rules good.traffic alike.traffic
    plg diff --ignore-file rules good.traffic new.traffic
    """,
)
@rule_options
@click.option(
    "--udp",
    type=click.Choice(["strict", "lossy", "off"]),
    default="lossy",
    help="Datagrams: one by one; forgiving what a network loses and repeats; or not compared.",
)
@click.option("--strict-order", is_flag=True, help="Another order is a difference.")
@click.option("--all", "shows_all", is_flag=True, help="Show all differences, not the first ten.")
@click.option("--json", "as_json", is_flag=True, help="Say it as JSON.")
@click.option("--report", "report_path", type=FILE, metavar="FILE", help="It as JSON, in a file.")
@click.option(
    "--name", "names", metavar="ADDRESS=NAME", multiple=True, help="What an address of a capture is called."
)
@click.option("--learn", is_flag=True, help="Write the --ignore rules for what differs between good runs.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to.  [default: stdout]")
@debug_option
@click.argument("paths", metavar="A B", nargs=-1, required=True, type=FILE)
def command(**words: object) -> int:
    request = Request(**words)  # type: ignore[arg-type]
    request.check()
    return request.learn_rules() if request.learn else request.compare()


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    paths: tuple[Path, ...]
    ignore: tuple[str, ...]
    ignore_files: tuple[Path, ...]
    udp: str
    echo: tuple[str, ...]
    strict_order: bool
    shows_all: bool
    as_json: bool
    report_path: Path | None
    names: tuple[str, ...]
    learn: bool
    output: Path | None

    def check(self) -> None:
        """Refuse, before anything is read, what makes no sense."""
        if len(self.paths) < 2 or (len(self.paths) > 2 and not self.learn):
            wanted = "two or more" if self.learn else "two"
            raise UsageError(f"cannot compare {counted(len(self.paths), 'recording')}: give {wanted}")
        if self.output is not None and not self.learn:
            raise UsageError("cannot use -o without --learn: --report FILE is for the differences")
        if self.learn and (self.as_json or self.report_path or self.shows_all):
            raise UsageError("cannot use --json, --report or --all with --learn: it writes rules")
        for target in (self.output, self.report_path):
            for path in (*self.paths, *self.ignore_files):
                if target is not None and target.exists() and path.exists() and target.samefile(path):
                    raise UsageError(f"cannot write {target}: it is read")

    def compare(self) -> int:
        from netplayground.cli.report_file import check_report, write_json
        from netplayground.report.diff import compare
        from netplayground.report.halves import make_halves

        options = self._options()
        if self.report_path is not None:
            check_report(self.report_path, self.paths[0])
        with ExitStack() as stack:
            one, two = (self._open(path, stack) for path in self.paths)
            halves = make_halves(one, two)
            size = self.paths[1].stat().st_size
            with Progress() as progress:
                difference = compare(
                    halves,
                    options,
                    lambda done: progress.show(done, size),
                    _MOST_TOLD if self.shows_all or self.as_json or self.report_path else _MOST_SHOWN,
                )
        told = _as_json(self.paths[0], self.paths[1], difference)
        if self.as_json:
            write_lines([json.dumps(told, indent=2)])
        else:
            write_lines(difference_lines(self.paths[0], self.paths[1], difference, self.shows_all))
        if self.report_path is not None:
            write_json(self.report_path, told)
        return 0 if difference.is_same else DIFFERENT

    def learn_rules(self) -> int:
        from netplayground.report.lessons import learn

        options = self._options()
        with ExitStack() as stack:
            loads = [self._loader(path, stack) for path in self.paths]
            lesson = learn(loads[0], loads[1:], options)
        self._write_rules(lesson)
        tell(rules_line(lesson))
        if lesson.spread_ns < _SECOND:
            tell("note: made within one second: clocks of whole seconds may have said the same in all")
        for number, difference in enumerate(lesson.differences):
            one, two = self.paths[0], self.paths[1 + number // 2]
            if not difference.is_same:
                pair = (one, two) if number % 2 == 0 else (two, one)
                for line in difference_lines(*pair, difference, shows_all=False):
                    tell(line)
                break
            for warning in difference.verdict.warnings:
                tell(f"warning: {warning}")
        return 0 if lesson.is_enough else DIFFERENT

    def _write_rules(self, lesson: Lesson) -> None:
        from netplayground.dump.appearing import OPEN, appearing
        from netplayground.replay.rules import emit_rules

        names = " and ".join(str(path) for path in self.paths)
        lines = [
            f"# what differs between {printable(names)}; for --ignore-file",
            *(["# not enough: see what plg diff says"] if not lesson.is_enough else []),
            *emit_rules(lesson.rules, lesson.comments),
        ]
        if self.output is None:
            write_lines(lines)
            return
        with appearing(self.output, OPEN) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def _loader(self, path: Path, stack: ExitStack) -> Callable[[], Tape]:
        """Opens a recording; what is given loads its tape, each time anew."""
        from netplayground.cli.playable import open_playable
        from netplayground.report.tapes import sound_tape

        recording = stack.enter_context(open_playable(path, self.names))
        return lambda: sound_tape(recording)

    def _open(self, path: Path, stack: ExitStack) -> Tape:
        from netplayground.cli.playable import open_playable
        from netplayground.report.tapes import sound_tape

        recording = stack.enter_context(open_playable(path, self.names))
        if recording.ambiguous:
            tell(f"{path}: ambiguous: {printable(recording.ambiguous)}")
        return sound_tape(recording)

    def _options(self) -> ReplayOptions:
        from netplayground.replay.options import ReplayOptions, Strictness, parse_echo_rule

        ignore, echo = with_files(self.ignore, self.echo, self.ignore_files)
        return ReplayOptions(
            strict_order=self.strict_order,
            ignore=tuple(map(os.fsencode, ignore)),
            udp=Strictness(self.udp),
            echo=tuple(map(parse_echo_rule, echo)),
        )


def rules_line(lesson: Lesson) -> str:
    """What was learned, in one line."""
    rules = counted(len(lesson.rules.ignore), "rule")
    echo = f" and {counted(len(lesson.rules.echo), 'rule')} of --echo" if lesson.rules.echo else ""
    if lesson.is_enough:
        return f"{rules}{echo}: under them the recordings say the same"
    return f"{rules}{echo}, which are not enough: the recordings still differ"


def difference_lines(one: Path, two: Path, difference: Difference, shows_all: bool) -> Iterator[str]:
    """Each difference with what A and B say there; notes; and what it comes to."""
    from netplayground.cli.verdict import divergence_lines, note_lines, share_words

    verdict = difference.verdict
    shown = verdict.divergences if shows_all else verdict.divergences[:_MOST_SHOWN]
    for divergence in shown:
        yield from divergence_lines(divergence, "different")
    if verdict.divergence_count > len(shown):
        hint = "" if shows_all else " (--all shows them)"
        yield f"… and {counted(verdict.divergence_count - len(shown), 'difference')} more{hint}"
    for mine, their in difference.processes:
        if mine and their:
            yield f"note: {printable(their)} of B is compared with {printable(mine)} of A"
        else:
            yield f"note: {printable(mine or their)} is a process of {'A' if mine else 'B'} only"
    yield from note_lines(verdict)
    if verdict.missing:
        yield f"torn: {printable(verdict.missing)}"
    words = share_words(verdict).replace("divergence", "difference")
    yield f"{one} and {two} {'say the same' if difference.is_same else 'differ'}: {words}"


def _as_json(one: Path, two: Path, difference: Difference) -> dict[str, object]:
    return {
        "a": str(one),
        "b": str(two),
        "status": 0 if difference.is_same else DIFFERENT,
        "same": difference.is_same,
        **difference.verdict.as_json(),
        "only_in_a": list(difference.only_in_a),
        "only_in_b": list(difference.only_in_b),
        "processes": [{"a": mine or None, "b": their or None} for mine, their in difference.processes],
    }
