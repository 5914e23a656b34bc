"""The journeys at their whole size, one after another, for `scripts/soak`: about two hours.

    python -m journey.soak [NAME...]        all of them, or those named; `replay-50` is each replay-50/…

Each runs in a folder of its own that is deleted. The status is 1 if one of them is not ok.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from capture.crowds import KINDS
from journey import crowds, loads, pages, pairs, posts, programs, replays, shows
from journey.ordinary import as_nobody
from journey.replays import Program
from journey.runs import Place

GIB = 1 << 30


def first_example_as_ordinary_user(place: Place) -> None:
    loads.first_example(place, 100, before=as_nobody(place))


def kill_nine(place: Place) -> None:
    """Fifty times, and the kernel's count of network namespaces is what it was."""
    before = _count_namespaces()
    loads.killed_under_load(place, 50, random.Random(time.time_ns()))
    end = time.monotonic() + 30  # the kernel takes namespaces apart in the background, and in batches
    while (now := _count_namespaces()) > before:
        assert time.monotonic() < end, f"network namespaces: {before} before, {now} after"
        time.sleep(0.5)


def _count_namespaces() -> int:
    """Network namespaces that the kernel has and in which no process is; only root may know (else 0).

    The allocator counts what it keeps for its next use among the objects in use, until it is told to shrink.
    """
    slab = Path("/sys/kernel/slab/net_namespace")
    try:
        (slab / "shrink").write_text("1")
        return int((slab / "objects").read_text().split()[0]) - len(set(_namespaces_of_processes()))
    except (PermissionError, FileNotFoundError):
        return 0


def _namespaces_of_processes() -> Iterator[str]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended between the two calls
                yield os.readlink(f"/proc/{entry}/ns/net")


def replay_series(place: Place, name: str, times: int) -> None:
    """A program of programs.py, so often in each mode."""
    play_series(place, programs.make(name, place), name, times)


def post_series(place: Place, name: str, make: Callable[[Place], Program], times: int) -> None:
    """One that speaks in datagrams."""
    play_series(place, make(place), name, times)


def play_series(place: Place, program: Program, name: str, times: int) -> None:
    """Record a program once and replay it so often in each mode; all must do as recorded."""
    recorded = replays.record_program(place, program)
    failed = 0
    for mode in replays.Mode:
        good = 0
        for number in range(times):
            try:
                replays.check_replay(place, program, mode, recorded)
                good += 1
            except AssertionError as error:
                failed += 1
                print(f"{name}, {mode.value}, replay {number + 1}: {error}", file=sys.stderr, flush=True)
        print(f"        {name:16} {mode.value:14} {good} of {times}", flush=True)
    assert not failed, f"{failed} of {3 * times} replays"


def one_minute(place: Place) -> None:
    """The last chunk of a tape of a minute comes less than 50 ms off its time."""
    replays.assert_on_time(place, 60)


JOURNEYS: dict[str, Callable[[Place], None]] = {
    "first-example": lambda place: loads.first_example(place, 100),
    "first-example-ordinary-user": first_example_as_ordinary_user,
    "2.5-gib": lambda place: loads.one_way(place, 5 * GIB // 2),
    "more-than-4-gib": lambda place: loads.one_way(place, 4 * GIB + 300_000_001),
    "kill-9": kill_nine,
    "50000-closed-by-client": lambda place: loads.one_after_another(place, 50_000, "client"),
    "50000-closed-by-server": lambda place: loads.one_after_another(place, 50_000, "server"),
    "1000-at-once": lambda place: loads.at_once(place, 1000),
    "printed-gib": lambda place: shows.much(place, GIB // len(shows.LINE % 0)),
    "killed-on-a-terminal": lambda place: shows.killed_on_a_terminal(
        place, 50, random.Random(time.time_ns())
    ),
    "report-page": lambda place: pages.large(place, 100_000),
    **{f"crowds-150000/{kind}": partial(crowds.imports, kind=kind, count=150_000) for kind in KINDS},
    "ten-minutes": lambda place: loads.load(place, 600),
    "one-minute-tape": one_minute,
    **{f"replay-50/{name}": partial(replay_series, name=name, times=50) for name in programs.PROGRAMS},
    **{
        f"post-50/{name}": partial(post_series, name=name, make=make, times=50)
        for name, make in posts.POSTS.items()
    },
    "rally-10000": partial(post_series, name="rally-10000", make=partial(posts.rally, count=10_000), times=1),
    **{f"diff/{name}": partial(pairs.compared, name=name, times=5) for name in programs.PROGRAMS},
    **{f"replay-256/{name}": partial(replay_series, name=name, times=20) for name in programs.CROWDS},
}


def _named(names: list[str]) -> list[str]:
    """The journeys that are asked for, by name or by the name of their series."""
    found: list[str] = []
    for asked in names:
        found += [name for name in JOURNEYS if asked in (name, name.partition("/")[0])] or [asked]
    return found or list(JOURNEYS)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description="the journeys at their whole size")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these: {', '.join(JOURNEYS)}")
    parser.add_argument("--place", help="where the dumps go (default: the folder for temporary files); 20 GB")
    arguments = parser.parse_args(argv)
    names = _named(arguments.names)
    unknown = [name for name in names if name not in JOURNEYS]
    if unknown:
        parser.error(f"no such journey: {', '.join(unknown)}")
    failed = [name for name in names if not _play(name, arguments.place)]
    print(f"{len(failed)} failed: {', '.join(failed)}" if failed else "all ok")
    return 1 if failed else 0


def _play(name: str, where: str | None) -> bool:
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="plg-soak-", dir=where) as folder:
            JOURNEYS[name](Place(Path(folder)))
    # A journey that fails, for whatever cause, is a line of the report, and the others still run. One that
    # cannot run ends with an exception of pytest's, which is no Exception.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        traceback.print_exc()
        print(f"NOT OK  {name}: {error}", flush=True)
        return False
    print(f"ok      {name} ({time.monotonic() - begin:.0f} s)", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
