"""Programs that end in their own ways: as outside, and all of them gone at the end (each run looks)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from journey.runs import Place, Run, record, record_command, running

from needs import needs_program, needs_tun

GRACE_S = 1.0
ORDERLY_S = 4.0  # far below the grace of five seconds that plg gives by itself, and below sleep 77


@pytest.fixture(autouse=True)
def _tun() -> None:
    needs_tun()


def test_a_shell_that_waits_for_its_command_ends_with_it(place: Place) -> None:
    ended = record(place, "sh -c 'sleep 77'", "true", options=("--until", "p2"))
    assert ended.status == 0, ended
    assert ended.seconds < ORDERLY_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_plg_ends_the_run_in_order(place: Place, number: signal.Signals) -> None:
    with running(place, record_command(place.dump, (), ["echo begun; sh -c 'sleep 77'"])) as run:
        _wait_for_word("begun", place, run)
        run.process.send_signal(number)
        ended = run.wait(ORDERLY_S)
    assert ended.status == 0, ended


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(place: Place) -> None:
    stubborn = "trap '' TERM; echo begun; while :; do sleep 77; done"
    options = ("--until", "p2", "--grace", f"{GRACE_S:g}")
    # p2 ends only when p1 has its trap: it waits for a file that p1 makes.
    ended = record(
        place, f"{stubborn.replace('echo begun', ': > begun')}", _until_exists("begun"), options=options
    )
    assert ended.status == 0, ended
    assert GRACE_S <= ended.seconds < GRACE_S + ORDERLY_S


@pytest.mark.parametrize("after", ["exit 0", "sleep 0.1"], ids=["at once", "later"])
def test_daemons_end_with_the_process_that_forked_them(place: Place, after: str) -> None:
    needs_program("setsid")
    daemon = "setsid sh -c 'sh -c \"sleep 77\" & sleep 77' > /dev/null 2>&1 &"
    ended = record(place, f"{daemon} {after}")
    assert ended.status == 0, ended
    assert ended.seconds < ORDERLY_S


def test_a_stubborn_daemon_ends_too(place: Place) -> None:
    needs_program("setsid")
    daemon = "setsid sh -c 'trap \"\" TERM HUP INT; : > begun; while :; do sleep 77; done' &"
    ended = record(place, f"{daemon} {_until_exists('begun')}", options=("--grace", f"{GRACE_S:g}"))
    assert ended.status == 0, ended
    assert ended.seconds < GRACE_S + ORDERLY_S


def test_a_program_that_stops_itself_ends_with_the_run(place: Place) -> None:
    stopped = ": > begun; kill -STOP $$; echo went on"
    ended = record(place, stopped, _until_exists("begun"), options=("--until", "p2"))
    assert ended.status == 0, ended
    assert ended.seconds < ORDERLY_S


def test_a_reader_that_leaves_ends_the_writer_as_in_any_shell(place: Place) -> None:
    ended = record(place, "yes | head -1")
    assert ended.status == 0, ended
    assert ended.stdout == "y\n"
    assert "roken pipe" not in ended.stderr


def test_sigpipe_ends_a_program_as_in_any_shell(place: Place) -> None:
    ended = record(place, "{ yes; echo status $? >&2; } | head -1")
    assert "status 141" in ended.stderr, ended


def test_a_program_that_a_signal_ends_gives_128_and_its_number(place: Place) -> None:
    ended = record(place, "kill -KILL $$")
    assert ended.status == 128 + signal.SIGKILL, ended
    assert "p1" in ended.last_line


def test_the_first_process_that_fails_gives_the_status(place: Place) -> None:
    ended = record(place, "db: exit 3", "web: while [ ! -e late ]; do sleep 0.1; : > late; done; exit 4")
    assert ended.status == 3, ended
    assert ended.last_line.endswith("db exited 3"), ended


def test_the_kill_signal_is_the_one_asked_for(place: Place) -> None:
    polite = "trap 'echo asked politely; exit 0' USR1; : > begun; while :; do sleep 0.05; done"
    ended = record(place, polite, _until_exists("begun"), options=("--until", "p2", "-k", "SIGUSR1"))
    assert ended.status == 0, ended
    assert "asked politely" in ended.stdout


def test_a_timeout_ends_the_run_with_124(place: Place) -> None:
    ended = record(place, "sleep 77", options=("--timeout", "0.5"))
    assert ended.status == 124, ended
    assert ended.seconds < ORDERLY_S


def _until_exists(name: str) -> str:
    return f"while [ ! -e {name} ]; do sleep 0.02; done"


def _wait_for_word(word: str, place: Place, run: Run) -> None:
    end = time.monotonic() + 10
    while not any(word in path.read_text() for path in _said(place)):
        assert run.process.poll() is None, run.ended(run.process.returncode)
        assert time.monotonic() < end, run.ended(-1)
        time.sleep(0.01)


def _said(place: Place) -> list[Path]:
    return sorted(place.path.glob("*.stdout"))
