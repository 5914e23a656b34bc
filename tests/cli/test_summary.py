"""The table at the end of a run."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

from netplayground.cli.summary import summary_lines, traffic_words
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic

RUN = RunSummary((ProcessOutcome("p1", 1, "true", exit_code=0),), Traffic(), Path("d"))


def test_what_failed_to_connect_is_told_apart() -> None:
    traffic = Traffic(connections=1234, refused=2, unanswered=1, bytes_to_server=10**9, bytes_to_client=1)
    assert list(traffic_words(traffic)) == [
        "1,234 connections (2 refused, 1 unanswered)",
        "1,000,000,000 bytes to servers",
        "1 byte to clients",
        "0 dropped",
    ]


def test_drops_have_their_processes_and_reasons_and_datagrams_a_count() -> None:
    drops = {"db": {"malformed": 2, "in a full queue": 0}, "p2": {}, "app": {"in a full queue": 1500}}
    words = list(traffic_words(Traffic(datagrams=3, drops=drops)))
    assert words[-2:] == [
        "3 datagrams",
        "1,502 dropped (db: 2 malformed; app: 1,500 in a full queue)",
    ]


def test_a_long_command_is_cut_and_power_over_the_terminal_taken() -> None:
    process = replace(RUN.processes[0], command="a\x1b[31m\n" + "x" * 100)
    row = list(summary_lines(replace(RUN, processes=(process,))))[1]
    assert row.startswith("p1       exited 0  a\\x1b[31m\\nxxx")
    assert row.endswith("x…")
    assert row.isprintable()


def test_what_interrupted_and_what_is_worth_noting_come_last() -> None:
    lines = list(summary_lines(replace(RUN, interrupted_by=signal.SIGINT, notes=("a note",))))
    assert lines[-2:] == ["ended by SIGINT", "a note"]
