"""What the view of a run says, at several widths, and how it lives with what programs say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cli.glass import Glass

from netplayground.cli.places import StreamPlace
from netplayground.cli.view import View
from netplayground.session.status import ProcessStatus, Status, TapeStatus, emit_status, parse_status

DB = ProcessStatus("db", "running", is_running=True)
WEB = ProcessStatus("web", "exited 3", is_running=False, has_failed=True)
APP = ProcessStatus("app", "waiting", is_running=False)
PLG = 2


def status(seconds: float = 61.5, **fields: object) -> Status:
    known: dict[str, object] = {
        "processes": (DB, WEB, APP),
        "open_connections": 3,
        "dropped": 0,
        "connections": 1200,
        "bytes_to_servers": 12_345_678,
        "bytes_to_clients": 500,
    }
    return Status(seconds, **{**known, **fields})  # type: ignore[arg-type]


def lines(
    columns: int, *statuses: Status, rows: int = 12, begun: tuple[tuple[str, bytes], ...] = ()
) -> list[str]:
    view = View(in_colour=False)
    for each in statuses:
        view.take(each)
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in view.lines(columns, rows, begun)]


def test_a_status_goes_to_another_process_as_it_is() -> None:
    for each in (status(), status(tape=TapeStatus(1, 2, 3), datagrams=4)):
        assert parse_status(emit_status(each)) == each


def test_processes_and_figures() -> None:
    assert lines(120, status()) == [
        "db   running",
        "web  exited 3",
        "app  waiting",
        "1:01 · 3 of 1,200 connections open · 12.3 MB to servers · 500 bytes to clients · 0 dropped",
    ]


@pytest.mark.parametrize("columns", [19, 25, 40, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    many = status(
        processes=(ProcessStatus("a-rather-long-name" * 3, "exited 127 (command not found)", False), DB)
    )
    for each in (many, status(tape=TapeStatus(10**9, 10**12, 7), datagrams=123_456)):
        drawn = lines(columns, each, begun=(("db", b"x" * 300),))
        assert drawn and max(map(len, drawn)) <= columns


def test_rates_are_of_the_last_two_seconds() -> None:
    steps = [status(float(second), bytes_to_servers=1_000_000 * second) for second in range(1, 10)]
    assert "9.0 MB to servers (1.0 MB/s)" in lines(200, *steps)[-1]
    idle = [status(float(second), bytes_to_servers=9_000_000) for second in range(10, 14)]
    assert "9.0 MB to servers ·" in lines(200, *steps, *idle)[-1]


def test_a_replay_has_its_tape() -> None:
    tape = TapeStatus(15_000_000_000, 60_000_000_000, 0)
    bar, figures = lines(79, status(tape=tape))[-2:]
    assert bar == f"{'━━━━━━╸':26} 15.0 of 60.0 s of the recording"
    assert figures == "1:01 · 3 connections open · 0 dropped"
    bar, _ = lines(79, status(tape=TapeStatus(0, 0, 2)))[-2:]
    assert bar == "━" * 26 + " 0.0 of 0.0 s of the recording, 2 divergences"


def test_what_there_is_no_room_for_is_counted() -> None:
    many = tuple(ProcessStatus(f"p{n}", "running", is_running=n < 90) for n in range(100))
    assert lines(120, status(processes=many), rows=5) == [
        "p0  running",
        "p1  running",
        "p2  running",
        "…   97 more, 87 running",
        "1:01 · 3 of 1,200 connections open · 12.3 MB to servers · 500 bytes to clients · 0 dropped",
    ]
    for rows in range(1, 5):
        assert len(lines(120, status(processes=many), rows=rows)) <= rows


def test_a_line_that_is_not_at_its_end_is_shown_as_a_terminal_would() -> None:
    begun = (("db ", b"10 %\r20 %\r"), ("web", b"password: \xff\x1b[31m"))
    assert lines(79, status(), begun=begun)[:2] == [
        "db  | 20 %",
        "web | password: \N{REPLACEMENT CHARACTER}\\x1b[31m",
    ]


@pytest.fixture
def glass(monkeypatch: pytest.MonkeyPatch) -> Iterator[Glass]:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    glass = Glass(60, 16)
    yield glass
    glass.close()


VIEW = [
    "db   running",
    "web  exited 3",
    "app  waiting",
    "1:01 · 3 of 1,200 connections open · 12.3 MB to servers",
    "500 bytes to clients · 0 dropped",
]


def test_what_is_said_scrolls_above_the_view(glass: Glass) -> None:
    place = StreamPlace(glass.descriptor, ["db", "web"])
    place.take(0, b"before\n", 0)
    place.take_status(emit_status(status()))
    assert glass.lines == ["db  | before", *VIEW]
    place.take(1, b"one\ntwo\n", 1)
    place.take(PLG, b"plg: word\n", 2)
    assert glass.lines == ["db  | before", "web | one", "web | two", "plg: word", *VIEW]
    for number in range(100):
        place.take(0, b"%d\n" % number, 3)
        assert glass.lines[-5:] == VIEW
    assert glass.lines == [*(f"db  | {number}" for number in range(89, 100)), *VIEW]
    place.end(PLG)
    assert glass.lines[-1] == "db  | 99"
    place.take(0, b"more\n", 4)
    assert glass.lines[-1] == "db  | more"


def test_a_line_that_is_open_ends_before_the_view_and_begun_ones_stand_in_it(glass: Glass) -> None:
    place = StreamPlace(glass.descriptor, ["db", "web"])
    place.take(0, b"name? ", 0)
    place.on_time(1)
    assert glass.lines == ["db  | name?"]
    place.take_status(emit_status(status()))
    assert glass.lines == ["db  | name?", *VIEW]
    place.take(0, b"joe\nage? ", 2)
    assert place.next_time() is None
    place.take_status(emit_status(status()))
    assert glass.lines == ["db  | name?", "db  | joe", "db  | age?", *VIEW]
    place.take(0, b"7\n", 3)
    place.take_status(emit_status(status()))
    assert glass.lines == ["db  | name?", "db  | joe", "db  | age? 7", *VIEW]


def test_a_line_without_end_does_not_run_into_the_view(glass: Glass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netplayground.cli.lines.LONGEST", 50)
    place = StreamPlace(glass.descriptor, ["db", "web"])
    place.take_status(emit_status(status()))
    place.take(0, b"x" * 51, 1)
    assert glass.lines == ["db  | " + "x" * 51, *VIEW]
    place.take(0, b"yyy\n", 2)
    assert glass.lines == ["db  | " + "x" * 51, "db  | yyy", *VIEW]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (30, 16), (60, 8), (25, 8)])
def test_a_window_that_is_pulled_at_has_one_view(glass: Glass, columns: int, rows: int) -> None:
    place = StreamPlace(glass.descriptor, ["db", "web"])
    place.take_status(emit_status(status()))
    place.take(0, b"said\n", 1)
    glass.resize(columns, rows)
    for _ in range(3):
        place.take_status(emit_status(status()))
    assert len([line for line in glass.lines if re.fullmatch("db +running", line)]) == 1
    place.end(PLG)
    assert "running" not in "".join(glass.lines)


def test_where_there_is_no_room_there_is_no_view(glass: Glass) -> None:
    place = StreamPlace(glass.descriptor, ["db", "web"])
    place.take_status(emit_status(status()))
    glass.resize(60, 3)
    place.take_status(emit_status(status()))
    place.take(0, b"name? ", 1)
    assert place.next_time() is not None
    place.on_time(2)
    place.take_status(emit_status(status()))
    place.take(0, b"joe\n", 3)
    assert glass.lines[-1] == "db  | name? joe"
