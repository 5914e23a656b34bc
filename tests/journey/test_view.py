"""The view of a run on a real terminal: it stands below what is said, and nothing of it stays."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from journey.replays import replay_command
from journey.runs import Place, python, record, record_command
from journey.shows import killed_on_a_terminal
from journey.terminals import Screen

OPEN = "of 0 connections open"
CHATTER = "for i in 1 2 3; do echo word $i; sleep 0.3; done; : > chatted; sleep 77"


@contextmanager
def recording(
    place: Place, *commands: str, options: tuple[str, ...] = (), columns: int = 80
) -> Iterator[Screen]:
    with Screen(record_command(place.dump, options, commands), place, columns=columns) as screen:
        yield screen


def assert_restored(screen: Screen) -> None:
    """Nothing of the view is left, and nothing of the terminal is changed."""
    assert "connections open" not in screen.text and "running" not in screen.text, screen.text
    assert screen.shows_cursor
    assert not re.search(rb"\x1b\[\?", screen.received), "a mode of the terminal was changed"


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_a_run_is_seen_while_it_goes(place: Place, columns: int) -> None:
    with recording(
        place, f"db: {CHATTER}", "app: sleep 77", options=("--timeout", "3"), columns=columns
    ) as screen:
        screen.await_text("connections open")
        screen.await_text("db  | word 3")
        assert "db   running" in screen.lines and "app  running" in screen.lines
        assert screen.lines.index("db  | word 3") < screen.lines.index("db   running")
        assert screen.await_end() == 124
    assert_restored(screen)
    assert [line for line in screen.text.splitlines() if re.match(r"db +\| ", line)] == [
        "db  | word 1",
        "db  | word 2",
        "db  | word 3",
    ]


def test_it_says_whom_a_process_waits_for(place: Place) -> None:
    options = ("--timeout", "2", "--ready", "db:5432")
    with recording(place, "db: sleep 77", "app: true", options=options) as screen:
        screen.await_text("app  waiting for db:5432")
        assert screen.await_end() == 124
    assert_restored(screen)


def test_a_prompt_stands_in_the_view_until_its_line_ends(place: Place) -> None:
    asks = "sleep 1; printf 'name? '; sleep 1; echo joe"
    with recording(place, asks, "sleep 3", options=("--until", "p1")) as screen:
        screen.await_that(lambda: "p1 | name?" in screen.lines and "p1  running" in screen.lines, "prompt")
        assert screen.await_end() == 0
    assert_restored(screen)
    assert "p1 | name? joe" in screen.text


def test_the_interrupt_key_ends_the_run_in_order(place: Place) -> None:
    polite = "trap 'echo leaving; exit' TERM; while :; do sleep 0.02; done"
    with recording(place, polite, "sleep 77") as screen:
        screen.await_text(OPEN)
        screen.type("\x03")
        assert screen.await_end() == 0
    assert_restored(screen)
    assert "p1 | leaving" in screen.text and "plg: ended by SIGINT" in screen.text


def test_killed_plg_leaves_the_terminal_as_it_was(place: Place) -> None:
    with recording(place, CHATTER, "sleep 77") as screen:
        screen.await_text(OPEN)
        screen.await_text("p1 | word 3")
        os.kill(screen.pid, signal.SIGKILL)
        assert screen.await_end() == -signal.SIGKILL
    assert_restored(screen)
    assert screen.lines[-1] == "p1 | word 3"


def test_signals_at_odd_moments_leave_nothing(place: Place) -> None:
    killed_on_a_terminal(place, 4, random.Random(time.time_ns()))


def test_a_killed_relay_is_said_and_the_run_goes_on(place: Place) -> None:
    with recording(place, "sleep 77", "sleep 3", options=("--until", "p2"), columns=132) as screen:
        screen.await_text(OPEN)
        relay = next(pid for pid in children(screen.pid) if not namespaces_differ(pid, screen.pid))
        os.kill(relay, signal.SIGKILL)
        assert screen.await_end() == 125
    assert (
        "plg: cannot write what the processes say to stdout and stderr: its relay was ended from"
        in screen.text
    )
    assert place.dump.stat().st_size > 0


def test_stopped_and_continued_it_is_drawn_anew(place: Place) -> None:
    command = shlex.join(record_command(place.dump, (), [CHATTER, "sleep 77"]))
    with Screen(["bash", "--norc", "--noprofile", "-i"], place) as screen:
        screen.type(f"PS1='ready: '; {command}\n")
        screen.await_text(OPEN)
        screen.type("\x1a")
        screen.await_text("Stopped")
        screen.type("echo and $((40 + 2))\n")
        screen.await_text("and 42")
        screen.type("fg\n")
        screen.await_that(lambda: seen_below(screen, "and 42", OPEN), "view below the prompt")
        screen.type("\x03")
        screen.await_text("ended by SIGINT")
        screen.type("exit\n")
        screen.await_end()
    assert "and 42" in screen.text
    assert screen.shows_cursor


def test_in_the_background_nothing_is_drawn(place: Place) -> None:
    command = shlex.join(record_command(place.dump, (), [CHATTER, "sleep 77"]))
    with Screen(["bash", "--norc", "--noprofile", "-i"], place) as screen:
        screen.type(f"PS1='ready: '; {command} &\n")
        screen.await_text("p1 | word 3")
        time_to_draw(place)
        screen.type("kill %1; wait\n")
        screen.await_text("ended by SIGTERM")
        screen.type("exit\n")
        screen.await_end()
    assert "connections open" not in screen.text


def test_a_replay_shows_its_tape(place: Place) -> None:
    client = "client: " + python("clients.py", "listen", "10.0.0.1", 7700)
    server = "server: " + python("clients.py", "tick", 7700, 3)
    recorded = record(place, server, client, options=("--ready", "server", "--until", "client"))
    assert recorded.status == 0, recorded
    with Screen(replay_command(place.dump, [client], ("--view", "--until", "client")), place) as screen:
        screen.await_text("s of the recording")
        assert "server  played from the dump" in screen.lines
        first = position(screen)
        screen.await_that(lambda: position(screen) > first + 1, "progress on the tape")
        assert screen.await_end() == 0
    assert_restored(screen)


def test_one_process_has_a_view_only_where_it_is_asked_for(place: Place) -> None:
    with recording(place, CHATTER, options=("--timeout", "2")) as screen:
        screen.await_end()
    assert b"connections open" not in screen.received and "\nword 3" in screen.text
    with recording(place, "cat; tty; " + CHATTER, options=("--timeout", "2", "--view")) as screen:
        screen.await_end()
    assert b"connections open" in screen.received and "p1 | not a tty" in screen.text
    assert_restored(screen)


@pytest.mark.parametrize("word", ["--no-view", "TERM=dumb"])
def test_no_view_where_it_is_not_wanted(place: Place, word: str) -> None:
    options, before = ((word,), []) if word.startswith("--") else ((), ["env", word])
    command = record_command(place.dump, ("--timeout", "2", *options), [CHATTER, "sleep 77"])
    with Screen([*before, *command], place) as screen:
        assert screen.await_end() == 124
    assert b"connections open" not in screen.received
    assert "p1 | word 3" in screen.text


def test_who_reads_plg_has_the_terminal_for_himself(place: Place) -> None:
    command = shlex.join(record_command(place.dump, ("--timeout", "2"), [CHATTER, "sleep 77"]))
    with Screen(["sh", "-c", f"{command} | sed s/word/said/"], place) as screen:
        screen.await_end()
    assert b"connections open" not in screen.received
    assert "p1 | said 3" in screen.lines


def test_where_output_goes_to_files_the_terminal_has_the_view(place: Place) -> None:
    with recording(place, CHATTER, options=("--timeout", "2", "--output", "logs")) as screen:
        screen.await_text("p1  running")
        assert screen.await_end() == 124
    assert_restored(screen)
    assert "word 3" not in re.sub(r"plg:.*", "", screen.text)
    assert (place.path / "logs" / "p1.log").read_text() == "word 1\nword 2\nword 3\n"


def test_where_stderr_is_no_terminal_nothing_is_drawn(place: Place) -> None:
    command = shlex.join(record_command(place.dump, ("--timeout", "2", "--view"), [CHATTER, "sleep 77"]))
    with Screen(["sh", "-c", f"{command} 2>complaints"], place) as screen:
        assert screen.await_end() == 124
    assert screen.lines == ["p1 | word 1", "p1 | word 2", "p1 | word 3"]
    complaints = (place.path / "complaints").read_bytes()
    assert b"\x1b" not in complaints and b"connections open" not in complaints


def seen_below(screen: Screen, above: str, below: str) -> bool:
    text = "\n".join(screen.lines)
    return 0 <= text.find(above) < text.rfind(below)


def position(screen: Screen) -> float:
    found = re.search(r"([\d.]+) of [\d.]+ s of the recording", "\n".join(screen.lines))
    return float(found[1]) if found else 0.0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def namespaces_differ(one: int, other: int) -> bool:
    return os.readlink(f"/proc/{one}/ns/pid") != os.readlink(f"/proc/{other}/ns/pid")


def time_to_draw(place: Place) -> None:
    """Until the view would have been drawn several times."""
    end = time.monotonic() + 10
    while not (place.path / "chatted").exists() and time.monotonic() < end:
        time.sleep(0.02)
