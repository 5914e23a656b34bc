"""The command line of the bench: rounds that alternate between the ways, then one table.

It needs two cores to itself for about ten minutes, and stops by itself: every part of it has a deadline.
Dumps go to a temporary folder and are deleted after each measure (ten seconds of bulk are some gigabytes).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_parts.datagrams import WAYS_OF_DATAGRAMS
from bench_parts.measures import OF_PLG, ON_EVERY_WAY, QUICK, WHOLE, Extent, Figures
from bench_parts.stage import Failed
from bench_parts.table import as_json, judge, render, take_medians
from bench_parts.ways import WAYS

NEEDS = {
    "direct": ("iperf3",),
    "socat": ("iperf3", "socat"),
    "haproxy": ("iperf3", "haproxy"),
    "plg": ("iperf3",),
}
MEASURES = (*ON_EVERY_WAY, *OF_PLG)
STAGE = ("unshare", "nsenter", "ip")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="plg against direct, socat -r -R and HAProxy"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="alternating rounds; the table shows medians (default 3)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="seconds instead of minutes, to see that it works"
    )
    only = parser.add_argument("--only", action="append", default=[], choices=[*WAYS, *MEASURES])
    only.help = "only this way or this measure (repeatable)"
    parser.add_argument(
        "--json", metavar="FILE", help="also write every round's figures to FILE (- is stdout)"
    )
    parser.add_argument(
        "--place", default=None, help="where the dumps go (default: the folder for temporary files)"
    )
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    return arguments


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv)
    ways, measures = _choose(WAYS, arguments.only), _choose(MEASURES, arguments.only)
    missing = _missing_programs(ways)
    if missing:
        print(f"cannot run the bench: not installed: {', '.join(missing)}", file=sys.stderr)
        return 125
    extent = QUICK if arguments.quick else WHOLE
    rounds: list[tuple[str, Figures]] = []
    try:
        for number in range(1, arguments.rounds + 1):
            for name in measures:
                rounds += _play_round(
                    name, ways, extent, arguments.place, f"round {number} of {arguments.rounds}"
                )
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 125
    medians = take_medians(rounds)
    verdicts = judge(medians)
    if arguments.json != "-":
        print(render(medians, verdicts, ways))
    if arguments.json:
        _write_json(
            arguments.json,
            {
                "machine": _describe_machine(),
                "rounds": [{"way": way, **figures} for way, figures in rounds],
                "medians": medians,
                "promises": as_json(verdicts),
            },
        )
    return 0


def _choose(names: Iterable[str], only: list[str]) -> list[str]:
    """Those that were named, or all when none of this kind was."""
    every = list(names)
    return [name for name in every if name in only] or every


def _play_round(
    name: str, ways: list[str], extent: Extent, where: str | None, text: str
) -> Iterator[tuple[str, Figures]]:
    if name in ON_EVERY_WAY:
        for way in (each for each in ways if name != "datagrams" or each in WAYS_OF_DATAGRAMS):
            print(f"{text}: {name}, {way}", file=sys.stderr, flush=True)
            with _place(where) as place:
                yield way, ON_EVERY_WAY[name](WAYS[way], place, extent)
    elif "plg" in ways:
        print(f"{text}: {name}, plg", file=sys.stderr, flush=True)
        with _place(where) as place:
            yield "plg", OF_PLG[name](place, extent)


@contextmanager
def _place(where: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="plg-bench-", dir=where) as name:
        yield Path(name)


def _missing_programs(ways: list[str]) -> list[str]:
    needed = {*STAGE, *(program for way in ways for program in NEEDS[way])}
    return sorted(program for program in needed if shutil.which(program) is None)


def _describe_machine() -> dict[str, object]:
    return {
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def _write_json(path: str, report: dict[str, object]) -> None:
    text = json.dumps(report, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text)
