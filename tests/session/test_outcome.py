"""The exit status of a run and the words for it, row by row of the design's precedence."""

from __future__ import annotations

import errno
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.session.outcome import (
    ProcessOutcome,
    RunSummary,
    Traffic,
    emit_ending,
    exit_status,
    parse_ending,
    signal_name,
)

JSON = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
)

FINE = ProcessOutcome("web", 2, "nginx", exit_code=0, ended_ns=10)
FAILED = ProcessOutcome("db", 1, "postgres", exit_code=3, ended_ns=20)
CRASHED = ProcessOutcome("app", 3, "app", signal=signal.SIGSEGV, ended_ns=30)
NOT_FOUND = ProcessOutcome("typo", 4, "pstgres", exit_code=127, ended_ns=40)
NOT_EXECUTABLE = ProcessOutcome("text", 5, "./README", exit_code=126, ended_ns=50)
STOPPED = ProcessOutcome("srv", 6, "srv", signal=signal.SIGTERM, ended_by_plg=True, ended_ns=60)


def run(*processes: ProcessOutcome) -> RunSummary:
    return RunSummary(processes, Traffic(), Path("dump.traffic"))


# Each row adds one thing to the row before it, and so takes over from it.
ROWS = [
    ("all well", run(FINE), (0, None)),
    ("what plg ended has not failed", run(FINE, STOPPED), (0, None)),
    ("a failure", run(FINE, STOPPED, CRASHED), (139, "app killed by SIGSEGV")),
    ("the first failure in time", run(FINE, STOPPED, CRASHED, FAILED), (3, "db exited 3")),
    (
        "the --until process's own",
        replace(run(FINE, STOPPED, CRASHED, FAILED), until_process="app"),
        (139, "app killed by SIGSEGV"),
    ),
    (
        "the --until process's own, also when it is well",
        replace(run(FINE, STOPPED, CRASHED, FAILED), until_process="web"),
        (0, None),
    ),
    (
        "a divergence",
        replace(run(FINE, CRASHED, FAILED), until_process="app", has_diverged=True),
        (3, "diverged"),
    ),
    (
        "a timeout",
        replace(run(FINE, CRASHED, FAILED), until_process="app", has_diverged=True, timed_out_after_s=5.0),
        (124, "timed out after 5 s"),
    ),
    (
        "a command that is not found",
        replace(run(FAILED, NOT_FOUND), until_process="db", has_diverged=True, timed_out_after_s=5.0),
        (127, "typo exited 127 (command not found)"),
    ),
    (
        "of two that cannot run, the first in time",
        replace(run(NOT_EXECUTABLE, FAILED, NOT_FOUND), timed_out_after_s=5.0),
        (127, "typo exited 127 (command not found)"),
    ),
    (
        "plg could not do its work",
        replace(
            run(FAILED, NOT_FOUND), timed_out_after_s=5.0, trouble="cannot write x: No space left on device"
        ),
        (125, "cannot write x: No space left on device"),
    ),
]


@pytest.mark.parametrize(("summary", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_first_that_applies(summary: RunSummary, expected: tuple[int, str | None]) -> None:
    assert exit_status(summary) == expected
    assert (summary.status, summary.reason) == expected


def test_an_until_process_that_plg_ended_does_not_decide() -> None:
    summary = replace(run(FAILED, STOPPED), until_process="srv")
    assert exit_status(summary) == (3, "db exited 3")


def test_failures_at_the_same_moment_go_by_position() -> None:
    one, two = (replace(FAILED, name=f"p{n}", position=n, exit_code=n) for n in (1, 2))
    assert exit_status(run(two, one)) == (1, "p1 exited 1")


def test_a_process_that_never_started_has_not_failed() -> None:
    assert exit_status(run(ProcessOutcome("x", 1, "x"))) == (0, None)


def test_what_plg_ended_with_127_was_found() -> None:
    assert exit_status(run(replace(NOT_FOUND, ended_by_plg=True))) == (0, None)


@pytest.mark.parametrize(
    ("process", "status", "words"),
    [
        (FINE, 0, "exited 0"),
        (CRASHED, 139, "killed by SIGSEGV"),
        (replace(CRASHED, signal=40), 168, "killed by signal 40"),
        (STOPPED, 143, "ended by plg (killed by SIGTERM)"),
        (replace(FINE, ended_by_plg=True), 0, "ended by plg (exited 0)"),
        (NOT_EXECUTABLE, 126, "exited 126 (command cannot be run)"),
        (ProcessOutcome("x", 1, "x"), 0, "never started"),
        (ProcessOutcome("x", 1, "x", ended_by_plg=True), 0, "ended by plg"),
        (
            ProcessOutcome("x", 1, "x", run_errno=errno.ENOENT),
            127,
            "could not be run: No such file or directory",
        ),
        (ProcessOutcome("x", 1, "x", run_errno=errno.EACCES), 126, "could not be run: Permission denied"),
    ],
)
def test_the_end_of_a_process_in_words(process: ProcessOutcome, status: int, words: str) -> None:
    assert (process.status, process.describe()) == (status, words)


def test_signals_have_names() -> None:
    assert signal_name(15) == "SIGTERM"


@pytest.mark.parametrize("process", [FINE, FAILED, CRASHED, STOPPED, NOT_EXECUTABLE])
def test_an_ending_goes_through_json_and_back(process: ProcessOutcome) -> None:
    fields = json.loads(json.dumps(emit_ending(process)))
    bare = ProcessOutcome(process.name, process.position, process.command, ended_ns=process.ended_ns)
    assert fields["process"] == process.name
    assert parse_ending(bare, fields) == process


@given(st.dictionaries(st.sampled_from(["exit_code", "signal", "run_errno", "ended_by_plg"]), JSON))
def test_any_fields_of_a_dump_tell_an_ending_in_words(fields: dict[str, object]) -> None:
    assert parse_ending(ProcessOutcome("x", 1, "x"), fields).describe()
