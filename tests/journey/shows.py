"""Loads of what processes print: much at once, and plg killed at odd moments on a terminal."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from pathlib import Path

from journey.runs import Place, python, record, record_command
from journey.terminals import Screen

LINE = b"%078d\n"
"""What `printer.py` prints, numbered."""
_KILLS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_CHATTER = "while :; do echo chatter; sleep 0.01; done", "while :; do printf x; sleep 0.05; done"


def much(place: Place, lines: int) -> None:
    """One process prints so many lines beside another one: each comes once, whole, in order; with --output
    byte for byte."""
    commands = f"loud: {python('printer.py', lines)}", f"quiet: {python('printer.py', 10)}"
    ended = record(place, *commands, deadline_s=600)
    assert ended.status == 0, ended.stderr
    _assert_numbered(place.path / "0.stdout", {b"loud  | ": lines, b"quiet | ": 10})
    (place.path / "0.stdout").unlink()
    ended = record(place, *commands, options=("--output", "logs"), deadline_s=600)
    assert ended.status == 0 and ended.stdout == "", ended
    _assert_numbered(place.path / "logs" / "loud.log", {b"": lines})
    _assert_numbered(place.path / "logs" / "quiet.log", {b"": 10})


def _assert_numbered(path: Path, wanted: dict[bytes, int]) -> None:
    counts = dict.fromkeys(wanted, 0)
    with path.open("rb") as file:
        for line in file:
            prefix = line[: -len(LINE % 0)]
            assert line[len(prefix) :] == LINE % counts[prefix], line
            counts[prefix] += 1
    assert counts == wanted


def killed_on_a_terminal(place: Place, times: int, dice: random.Random) -> None:
    """Signals at random moments of a run that is looked at: nothing is left (terminals.py looks), the view is
    gone and the terminal as it was."""
    for number in range(times):
        options = dice.choice([("--view",), (), ("--output", "logs")])
        commands = _CHATTER[: dice.choice([1, 2, 2])]
        how, delay_s = dice.choice(_KILLS), dice.uniform(0, 2)
        what = f"kill {number + 1}: {how.name} after {delay_s:.3f} s, {options}, {len(commands)} processes"
        with Screen(record_command(place.dump, options, commands), place) as screen:
            _look_on(screen, delay_s)
            os.kill(screen.pid, how)
            screen.await_end()
            text = screen.text
            assert "connections open" not in text and screen.shows_cursor, f"{what}: {text}"
            # What Python says of itself before it has come to us is not ours.
            assert "Traceback" not in text or "/netplayground/" not in text, f"{what}: {text}"


def _look_on(screen: Screen, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([screen.descriptor], [], [], left)[0]:
            screen.read_now()
