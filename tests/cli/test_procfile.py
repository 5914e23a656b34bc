"""Commands from a Procfile, and the environment from the `.env` beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from dump.making import every_ending, writing
from hypothesis import given
from hypothesis import strategies as st

from netplayground.cli.main import main
from netplayground.cli.procfile import parse_environment, parse_procfile, with_procfile
from netplayground.errors import UsageError
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic
from netplayground.session.plan import Plan, name_commands

PROCFILE = """\
# what there is
db: redis-server --port $PORT

web:   ./serve --db "db:5000"  # not a comment of ours
"""

NO_NAME = "is no name of a process: a letter, then at most 62 letters, digits, '-' or '_'"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    with mock.patch.dict(os.environ):
        os.environ.pop("PORT", None)
        yield


def procfile(folder: Path, text: str = PROCFILE, environment: str | None = None) -> Path:
    path = folder / "Procfile"
    path.write_text(text)
    if environment is not None:
        (folder / ".env").write_text(environment)
    return path


def test_each_line_is_a_named_command_in_order(tmp_path: Path) -> None:
    assert with_procfile(procfile(tmp_path), ()) == [
        "db: redis-server --port $PORT",
        'web: ./serve --db "db:5000"  # not a comment of ours',
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = procfile(tmp_path, "\ufeffa: x\n", "\ufeffA=1\n")
    assert with_procfile(path, ()) == ["a: x"]
    assert os.environ["A"] == "1"


def test_without_a_procfile_the_commands_are_those_given() -> None:
    assert with_procfile(None, ("a", "b")) == ("a", "b")
    assert "PORT" not in os.environ


def test_a_command_takes_the_place_of_its_name_or_comes_last(tmp_path: Path) -> None:
    chosen = with_procfile(procfile(tmp_path, "a: x\nb: y\n"), ("c: z", "a: -"))
    assert chosen == ["a: -", "b: y", "c: z"]


def test_a_name_needs_no_blank_behind_it_and_lines_may_end_as_on_windows() -> None:
    assert parse_procfile("a:x\r\nb: y\r\n", "P") == {"a": "x", "b": "y"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("db redis-server", "line 1 is not like 'name: command'"),
        ("\n# so\ndb:", "line 3 is not like 'name: command'"),
        ("7: x", f"line 1: '7' {NO_NAME}"),
        ("a: x\n2nd.web:x", f"line 2: '2nd.web' {NO_NAME}"),
        ("a: x\n" + "b" * 64 + ": x", f"line 2: '{'b' * 64}' {NO_NAME}"),
        ("a: x\na: y", "line 2 names a a second time"),
        ("# nothing", "no process is in it"),
        ("a: \0", "no text, a zero byte is in it"),
    ],
)
def test_what_is_no_procfile_is_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = procfile(tmp_path, text)
    assert main(["--record", "-f", str(tmp_path / "d"), "--procfile", str(path)]) == 2
    assert capsys.readouterr().err == f"plg: cannot read {path}: {message}\n"
    assert not (tmp_path / "d").exists()


def test_a_procfile_that_is_not_there_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Procfile"
    assert main(["--record", "-f", str(tmp_path / "d"), "--procfile", str(path)]) == 2
    assert capsys.readouterr().err == f"plg: cannot read {path}: No such file or directory\n"


def test_unnamed_commands_beside_a_procfile_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a command beside a Procfile has a name"):
        with_procfile(procfile(tmp_path), ("ls",))
    with pytest.raises(UsageError, match="given twice"):
        with_procfile(procfile(tmp_path), ("a: x", "a: y"))


@given(st.text())
def test_any_text_is_commands_that_a_run_takes_or_is_refused(text: str) -> None:
    try:
        commands = parse_procfile(text, "P")
    except UsageError:
        return
    try:
        named = name_commands([f"{name}: {command}" for name, command in commands.items()])
    except UsageError as error:  # names that differ by case or '-' only
        assert "apart" in str(error) or "localhost" in str(error)
        return
    assert dict(named) == commands


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=1", "1"),
        ("  A = 1  # one", "1"),
        ("A='a b'", "a b"),
        ('A="a # b"', "a # b"),
        ('A="it\'s"', "it's"),
        (r'A="a\nb\tc"', "a\nb\tc"),
        ("A=http://db:5000/x?y=z", "http://db:5000/x?y=z"),
        ("A=''", ""),
        ("A=a\\ ", "a "),
        ("A=1\r", "1"),
        ("A=naïve", "naïve"),
    ],
)
def test_a_variable_is_what_honcho_makes_of_it(line: str, value: str) -> None:
    assert parse_environment(line, ".env") == {"A": value}


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("export A=1", {"A": "1"}),
        ("export A='a b' # c", {"A": "a b"}),
        ("A=", {"A": ""}),
        ("A= # none", {"A": ""}),
        ("export=1", {"export": "1"}),
    ],
)
def test_what_shells_read_is_no_line_that_is_lost(line: str, values: dict[str, str]) -> None:
    assert parse_environment(line, ".env") == values


@pytest.mark.parametrize("line", ["", "# A=1", "A", "export A", "export", "A-B=1", "=1", "1A=1"])
def test_a_line_that_is_no_variable_is_passed_over(line: str) -> None:
    assert parse_environment(line, ".env") == {}


@given(st.text())
def test_any_text_is_variables_or_refused(text: str) -> None:
    try:
        values = parse_environment(text, ".env")
    except UsageError as error:
        assert "quotation" in str(error) or "escape" in str(error)
        return
    assert all(key.isascii() and key.isidentifier() for key in values)


def test_the_environment_is_that_of_the_processes(tmp_path: Path) -> None:
    with_procfile(procfile(tmp_path, environment="A=1\nHOME=elsewhere\n"), ())
    assert (os.environ["A"], os.environ["HOME"], os.environ["PORT"]) == ("1", "elsewhere", "5000")


@pytest.mark.parametrize("environment", [None, "PORT=7000"])
def test_a_port_that_somebody_gave_stays(tmp_path: Path, environment: str | None) -> None:
    os.environ["PORT"] = "6000"
    with_procfile(procfile(tmp_path, environment=environment), ())
    assert os.environ["PORT"] == ("6000" if environment is None else "7000")


def test_quotes_that_do_not_end_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = procfile(tmp_path, environment='A=1\nB="2')
    assert main(["--record", "-f", str(tmp_path / "d"), "--procfile", str(path)]) == 2
    assert capsys.readouterr().err == f"plg: cannot read {tmp_path}/.env: line 2: no closing quotation\n"


def test_a_recording_runs_the_processes_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[Plan] = []

    def record(plan: Plan, _narrate: object, *_carried: object, **_watched: object) -> RunSummary:
        plans.append(plan)
        return RunSummary((ProcessOutcome("db", 1, "x", exit_code=0),), Traffic(), plan.dump_path)

    module = ModuleType("netplayground.session.record")
    module.record = record  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "netplayground.session.record", module)
    words = ["--record", "-f", "d", "--procfile", str(procfile(tmp_path)), "--until", "test", "test: pytest"]
    assert main(words) == 0
    assert [(process.name, process.position) for process in plans[0].processes] == [
        ("db", 1),
        ("web", 2),
        ("test", 3),
    ]


def test_a_replay_of_a_procfile_fits_the_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = tmp_path / "d.traffic"
    with writing(dump) as writer:
        every_ending(writer, 4)
    path = procfile(tmp_path, "db: x\nother: y\n")
    assert main(["--replay", "-f", str(dump), "--procfile", str(path)]) == 2
    assert "cannot replay other: no such process in the recording" in capsys.readouterr().err
