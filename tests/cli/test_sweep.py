"""`plg replay --sweep` with a program in place of plg: what a turn is asked, what becomes of its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from dump.making import every_ending, writing

from netplayground.cli import sweep
from netplayground.cli.main import main
from netplayground.cli.replay import command as replay_command
from netplayground.cli.sweep import Turn, given_words
from netplayground.replay.verdict import Verdict

_DEADLINE_S = 30.0
_REPORT = {**Verdict(2, 2, 10, 10).as_json(), "status": 0, "reason": None}

# Writes down its words, does what the test has written for its turn, and reports.
_FAKE = """
import json, os, signal, sys, time
folder = os.path.dirname(os.path.abspath(sys.argv[0]))
options = dict(word[2:].split("=", 1) for word in sys.argv[2:] if word.startswith("--") and "=" in word)
with open(os.path.join(folder, "turns"), "a") as turns:
    turns.write(json.dumps(sys.argv[1:]) + "\\n")
    number = len(open(os.path.join(folder, "turns")).readlines())
with open(os.path.join(folder, "answers")) as answers:
    answer = json.load(answers)[number]
if answer.get("sleep"):
    def end(number, frame):
        open(os.path.join(folder, "ended by"), "a").write(signal.Signals(number).name)
        sys.exit(0)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, end)
    open(os.path.join(folder, "sleeping"), "w").close()
    time.sleep(100)
if answer.get("report"):
    with open(options["report"], "a") as report:
        json.dump(answer["report"], report)
if answer.get("signal"):
    os.kill(os.getpid(), answer["signal"])
sys.exit(answer.get("status", 0))
"""


class Fake:
    """The program in place of plg."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "plg"
        self.program.write_text(_FAKE)
        self.dump = folder / "d.traffic"
        with writing(self.dump) as writer:
            every_ending(writer, 4)
        self.answer({"report": _REPORT}, {"report": _REPORT})

    def answer(self, *answers: dict[str, Any]) -> None:
        (self.folder / "answers").write_text(json.dumps(answers))

    @property
    def turns(self) -> list[list[str]]:
        """The words of each turn, but for the report."""
        lines = (self.folder / "turns").read_text().splitlines()
        return [[word for word in json.loads(line) if not word.startswith("--report=")] for line in lines]

    def sweep(self, *words: str) -> int:
        return main(["replay", "--sweep", "-f", str(self.dump), *words])


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    made = Fake(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(made.program)])
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    descriptors = os.listdir("/proc/self/fd")
    yield made
    assert {number: signal.getsignal(number) for number in before} == before
    assert len(os.listdir("/proc/self/fd")) == len(descriptors)


def test_each_process_runs_once_alone_with_its_recorded_command(fake: Fake) -> None:
    assert fake.sweep() == 0
    assert fake.turns == [
        ["replay", f"--file={fake.dump}", "--", "db: serve --all"],
        ["replay", f"--file={fake.dump}", "--", "app: ask 'db'"],
    ]


def test_options_are_handed_on_as_they_were_given(fake: Fake) -> None:
    words = [
        *("-s", "10.9.0.0/24", "--speed", "2", "--ignore", "a", "--ignore=--b", "--patience", "0.5"),
        *("--strict-order", "--until", "app", "--ready", "db:80", "-k", "INT", "-vv", "--debug"),
        *("--on-divergence", "warn"),
    ]
    fake.sweep(*words)
    assert fake.turns[0][2:] == [
        *("--subnet=10.9.0.0/24", "--speed=2", "--ignore=a", "--ignore=--b", "--patience=0.5"),
        *("--strict-order", "--on-divergence=warn", "--kill=INT", "--ready=db:80", "--until=app"),
        *("--verbose", "--verbose", "--debug", "--", "db: serve --all"),
    ]


def test_all_options_of_a_replay_can_be_handed_on() -> None:
    """Each option, given once, comes out as words that mean the same."""
    for option in replay_command.params:
        if not isinstance(option, click.Option) or option.name in sweep._OWN or option.name == "debug":
            continue
        word = max(option.opts, key=len)
        value = "fail" if option.name == "on_divergence" else "strict" if option.name == "udp" else "7"
        given = [word] if option.is_flag or option.count else [f"{word}={value}"]
        context = replay_command.make_context("replay", ["-f", "d", *given, "x"], obj=None)
        assert [each.replace("7.0", "7") for each in given_words(context)] == given


def test_commands_may_be_given_and_who_is_canned_has_no_turn(fake: Fake) -> None:
    fake.sweep("-", "other words: of mine")
    assert fake.turns == [["replay", f"--file={fake.dump}", "--", "app: other words: of mine"]]
    (fake.folder / "turns").unlink()
    fake.sweep("db: x")
    assert fake.turns == [["replay", f"--file={fake.dump}", "--", "db: x"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "c"], "cannot replay 3 commands: the recording has 2 processes (db, app)"),
        (["-", "-"], "cannot replay db, app: all are canned, one at least must run"),
        (["who: x"], "cannot replay who: no such process in the recording, there is db, app"),
    ],
)
def test_words_that_fit_no_recording_are_refused_before_the_first_turn(
    fake: Fake, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert fake.sweep(*words) == 2
    assert message in capsys.readouterr().err
    assert not (fake.folder / "turns").exists()


def test_the_table_has_one_verdict_for_each_process(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    diverged = {**_REPORT, "bytes_matched": 5, "status": 3, "reason": "diverged"}
    diverged["divergences"] = [{"offset": 12, "connection": "app -> db:80"}]
    fake.answer({"report": diverged, "status": 3}, {"status": 125})
    assert fake.sweep() == 3
    assert capsys.readouterr().err.splitlines() == [
        "plg: db alone",
        "plg: app alone",
        "plg: process  status  matched  verdict",
        "plg: db       3       50 %     diverged at byte 12 of app -> db:80",
        "plg: app      125     -        could not be replayed",
    ]


def test_the_status_is_that_of_the_first_turn_that_has_one(fake: Fake) -> None:
    fake.answer({"report": _REPORT}, {"report": _REPORT, "status": 7})
    assert fake.sweep() == 7


def test_a_failure_that_is_no_divergence_is_named() -> None:
    report = {**_REPORT, "status": 1, "reason": "app exited 1"}
    assert Turn("app", 1, report).row() == ("app", "1", "100 %", "as recorded, but app exited 1")


def test_a_turn_that_was_killed_has_the_shells_status(fake: Fake) -> None:
    fake.answer({"signal": signal.SIGKILL}, {"report": _REPORT})
    assert fake.sweep() == 128 + signal.SIGKILL


def test_the_report_of_a_sweep_has_that_of_each_turn(fake: Fake) -> None:
    fake.answer({"report": _REPORT}, {"status": 125})
    fake.sweep("--report", str(fake.folder / "r.json"))
    assert json.loads((fake.folder / "r.json").read_text()) == {
        "db": {"status": 0, "report": _REPORT},
        "app": {"status": 125, "report": None},
    }


def test_a_report_that_cannot_be_written_is_told_before_the_first_turn(
    fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fake.sweep("--report", "/nonexistent/r.json") == 125
    assert capsys.readouterr().err == "plg: cannot write /nonexistent/r.json: No such file or directory\n"
    assert not (fake.folder / "turns").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_turn_in_order_and_there_is_no_next_one(fake: Fake, number: signal.Signals) -> None:
    fake.answer({"sleep": True}, {"report": _REPORT})
    start = f"import sys; sys.argv[0] = {str(fake.program)!r}; from netplayground.cli.main import main; "
    swept = subprocess.Popen(
        [sys.executable, "-c", f"{start} sys.exit(main(sys.argv[1:]))", "replay", "--sweep", "-f", fake.dump],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    deadline = time.monotonic() + _DEADLINE_S
    while not (fake.folder / "sleeping").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    swept.send_signal(number)  # to the sweep alone, as kill(1) does
    _, said = swept.communicate(timeout=_DEADLINE_S)
    assert swept.returncode == 128 + number
    assert (fake.folder / "ended by").read_text() == number.name
    assert said.splitlines()[-1] == f"plg: ended by {number.name}, not replayed: app"
    assert len(fake.turns) == 1
