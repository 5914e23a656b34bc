"""What the processes of a run say to the people before it: a name before each line, or a file for each."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from journey.replays import replay_command
from journey.runs import Place, Run, python, record, record_command, run, running
from journey.shows import much
from journey.terminals import Screen

from needs import needs_root

UNTIL_BEGUN = "while [ ! -e begun ]; do sleep 0.02; done"


def said(place: Place, stream: str = "stdout") -> str:
    """As it came, names and all."""
    return (place.path / f"0.{stream}").read_text()


def test_each_line_has_its_process(place: Place) -> None:
    ended = record(place, "db: echo up; echo trouble >&2", "visitor: printf 'one\\n\\nlast'")
    assert ended.status == 0, ended
    lines = said(place).splitlines()
    assert lines.count("db      | up") == 1
    assert [line for line in lines if "db" not in line] == ["visitor | one", "visitor | ", "visitor | last"]
    assert "db      | trouble\n" in said(place, "stderr")


def test_one_live_process_of_a_replay_speaks_for_itself(place: Place) -> None:
    server, client = python("clients.py", "tick", 7700, 0.1), python("clients.py", "listen", "10.0.0.1", 7700)
    commands = f"db: {server}", f"app: {client}"
    options = ("--ready", "db", "--until", "app")
    record(place, *commands, options=options)
    ended = run(place, replay_command(place.dump, commands[1:], options))
    assert ended.status == 0, ended
    assert said(place).startswith("app | ")
    assert ended.stdout and " | " not in (place.path / "1.stdout").read_text()


def test_lines_of_plg_stand_between_those_of_processes(place: Place) -> None:
    talk = python("clients.py", "tick", 7700, 0.3), python("clients.py", "listen", "10.0.0.1", 7700)
    chat = "i=0; while [ $i -lt 300 ]; do printf 'a'; printf 'b\\n'; i=$((i+1)); done >&2; "
    options = ("-v", "--ready", "p1", "--until", "p2")
    ended = record(place, f"({chat}) & {talk[0]}", f"({chat}) & {talk[1]}", options=options)
    assert ended.status == 0, ended
    lines = said(place, "stderr").splitlines()
    assert any(line.startswith("plg: p2 10.0.0.2:") and "closed" in line for line in lines)
    assert all(line.startswith("plg: ") or line in ("p1 | ab", "p2 | ab") for line in lines), ended


def test_all_is_out_when_plg_ends_by_timeout(place: Place) -> None:
    chat = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf 'and a last'; sleep 77"
    ended = record(place, chat, "sleep 77", options=("--timeout", "2"))
    assert ended.status == 124, ended
    wanted = [f"p1 | line {number}" for number in range(2000)] + ["p1 | and a last"]
    assert said(place).splitlines() == wanted


def test_what_is_said_on_the_interrupt_is_out(place: Place) -> None:
    polite = "trap 'echo leaving; exit' TERM; : > begun; while :; do sleep 0.02; done"
    with running(place, record_command(place.dump, (), [polite, "sleep 77"])) as started:
        _await(place.path / "begun", started)
        ended = started.stop()
    assert ended.status == 0, ended
    assert said(place) == "p1 | leaving\n"


def test_a_reader_that_leaves_ends_the_programs_as_in_any_shell(place: Place) -> None:
    commands = ["yes", "{ yes; echo status $? >&2; }"]
    line = " ".join(f"'{word}'" for word in record_command(place.dump, (), commands))
    ended = run(place, ["sh", "-c", f"{line} | head -1"])
    assert ended.stdout in ("y\n", "p1 | y\n", "p2 | y\n")
    assert "status 141" in ended.stderr, ended


def test_output_keeps_a_file_for_each(place: Place) -> None:
    every = 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done'
    ended = record(place, f"db: {every}; echo err >&2", "app: true", options=("--output", "logs"))
    assert ended.status == 0, ended
    assert ended.stdout == ""
    assert "err" not in ended.stderr.replace(every, "").replace("echo err", ""), ended
    logs = place.path / "logs"
    assert (logs / "db.log").read_bytes() == bytes(range(256)) + b"err\n"
    assert (logs / "app.log").read_bytes() == b""


def test_much_that_is_printed_comes_whole_and_in_order(place: Place) -> None:
    much(place, 200_000)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (("--output", "no/logs"), 125, "cannot write no/logs: No such file or directory"),
        (("--output", "dump.traffic"), 125, "cannot write dump.traffic/p1.log: Not a directory"),
        (("--output", "logs", "-f", "logs/p2.log"), 2, "cannot write logs/p2.log: it is a file of this run"),
    ],
)
def test_a_bad_output_is_one_line(place: Place, options: tuple[str, ...], status: int, words: str) -> None:
    place.file("dump.traffic", "")
    ended = record(place, "true", "true", options=options)
    assert ended.status == status, ended
    assert words in ended.last_line and ended.stderr.count("\n") == 1, ended


def test_a_daemon_that_outlives_its_process_is_not_waited_for(place: Place) -> None:
    daemon = "setsid sh -c 'trap \"\" TERM HUP; : > begun; while :; do echo still; sleep 0.05; done' &"
    ended = record(place, f"{daemon} {UNTIL_BEGUN}", "true", options=("--grace", "0.3"))
    assert ended.status == 0, ended
    assert "p1 | still\n" in said(place)


def test_nothing_is_left_when_plg_is_killed_while_processes_speak(place: Place) -> None:
    commands = ["while :; do echo here; done", f"{UNTIL_BEGUN}; sleep 77"]
    with running(place, record_command(place.dump, (), commands)) as started:
        _await_text(place.path / "0.stdout", "p1 | here", started)
        started.process.send_signal(signal.SIGKILL)
        started.process.wait(10)


def test_a_server_of_another_user_opens_its_stderr_anew(place: Place) -> None:
    needs_root()
    command = "exec 2>&-; echo word > /proc/self/fd/1"
    ended = record(place, command, "true", options=("-u", "nobody"))
    assert ended.status == 0, ended
    assert "p1 | word\n" in said(place)


def test_a_program_may_close_its_stdout(place: Place) -> None:
    ended = record(place, "exec >&-; echo nowhere 2>/dev/null; echo here >&2; sleep 0.2", "echo there")
    assert said(place) == "p2 | there\n"
    assert "p1 | here\n" in said(place, "stderr"), ended


def test_started_without_any_stream_a_run_is_recorded(place: Place) -> None:
    line = " ".join(f"'{word}'" for word in record_command(place.dump, (), ["echo one", "echo two"]))
    ended = run(place, ["sh", "-c", f"exec <&- >&- 2>&-; {line}"])
    assert ended.status == 0, ended
    assert place.dump.read_bytes().startswith(b"\n\r\r\n")


def test_names_are_in_colour_on_a_terminal(place: Place) -> None:
    command = record_command(place.dump, (), ["db: echo up", "app: tty"])
    with Screen(command, place) as screen:
        screen.await_end()
    assert b"\x1b[0;36mdb  | \x1b[0mup" in screen.received
    assert b"\x1b[0;33mapp | \x1b[0mnot a tty" in screen.received


@pytest.mark.parametrize("variable", ["NO_COLOR=1", "TERM=dumb", "TERM=", "--unset=TERM"])
def test_without_colour_where_it_is_not_wanted(place: Place, variable: str) -> None:
    command = ["env", variable, *record_command(place.dump, (), ["db: echo up", "app: true"])]
    with Screen(command, place) as screen:
        screen.await_end()
    assert b"db  | up\r\n" in screen.received
    assert b"\x1b[" not in screen.received


def test_one_process_has_the_terminal_itself(place: Place) -> None:
    with Screen(record_command(place.dump, (), ["read line; echo got $line; tty >&2"]), place) as screen:
        screen.type("hello\n")
        screen.await_text("/dev/pts/")
        screen.await_end()
    assert "got hello" in screen.text and " | " not in screen.text


def _await(path: Path, run: Run) -> None:
    _await_text(path, "", run)


def _await_text(path: Path, text: str, run: Run) -> None:
    end = time.monotonic() + 10
    while not (path.exists() and text in path.read_text()):
        assert run.process.poll() is None and time.monotonic() < end, run.ended(-1)
        time.sleep(0.01)
