"""Whatever a live client does otherwise is found, at its place, and is status 3."""

from __future__ import annotations

import pytest
from journey.replays import DIVERGED, Program, Replayed, record_program, replay
from journey.runs import Place, python

from needs import needs_tun

PORT = 7100
LINE = len(b"connection 1, request 0\n")
OPTIONS = ("--stall", "1")


def dialogue(how: str = "") -> str:
    return f"client: {python('clients.py', 'dialogue', '10.0.0.1', PORT, *([how] if how else []))}"


@pytest.fixture
def recorded(place: Place) -> Place:
    """A place with the dump of a dialogue with an echo server."""
    needs_tun()
    client = dialogue().removeprefix("client: ")
    record_program(place, Program(python("talk.py", "echo", PORT), client, PORT))
    return place


@pytest.mark.parametrize(
    ("how", "offset"),
    [("changed", LINE + 17), ("dropped", LINE + 17), ("added", LINE + 21)],
)
def test_a_byte_that_is_not_the_recorded_one(recorded: Place, how: str, offset: int) -> None:
    replayed = replay(recorded, dialogue(how), options=OPTIONS)
    assert_diverged(replayed, "different", record=1, offset=offset)


def test_a_connection_less(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("one-less"), options=OPTIONS)
    assert_diverged(replayed, "no-connection", record=1, offset=0)
    assert replayed.report["connections_matched"] == 1


def test_a_connection_more(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("one-more"), options=OPTIONS)
    assert_diverged(replayed, "extra-connection", record=None, offset=0)
    assert replayed.report["connections_matched"] == 2
    assert "ConnectionRefusedError" in replayed.ended.stderr


def test_an_abort_in_the_middle(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("abort"), options=OPTIONS)
    assert_diverged(replayed, "missing", record=1, offset=LINE)


def test_the_tape_waits_in_vain_and_says_for_whom(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("silent"), options=OPTIONS)
    assert_diverged(replayed, "stalled", record=1, offset=LINE)
    words = f"client, connection 1 client -> server:{PORT}, byte {LINE}: was to say {2 * LINE} bytes more"
    assert f"{words}, and did not for 1 s" in replayed.ended.stderr, replayed


def test_warn_is_status_0_and_the_rest_goes_on(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("changed"), options=(*OPTIONS, "--on-divergence", "warn"))
    assert replayed.ended.status == 0, replayed
    assert replayed.report["divergence_count"] == 1
    # The client heard what was recorded, all of it.
    assert replayed.ended.stdout.count("\n") == 6, replayed
    assert "reqUest" not in replayed.ended.stdout


def test_stop_ends_the_run_at_once(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("changed"), options=(*OPTIONS, "--on-divergence", "stop"))
    assert_diverged(replayed, "different", record=1, offset=LINE + 17)
    assert replayed.report["processes"][1]["ended"].startswith("ended by plg")


def test_what_was_expected_and_what_came_is_shown(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("changed"), options=OPTIONS)
    lines = [line for line in replayed.ended.stderr.splitlines() if "plg:   " in line]
    assert any("expected" in line and "0d" not in line for line in lines), replayed
    first = replayed.first
    at = first["offset"] - first["window"]
    assert bytes.fromhex(first["expected"])[at : at + 1] == b"u"
    assert bytes.fromhex(first["actual"])[at : at + 1] == b"U"
    assert replayed.ended.last_line == "plg: diverged"


def test_an_ignored_difference_is_none(recorded: Place) -> None:
    replayed = replay(recorded, dialogue("added"), options=OPTIONS, ignore=("request!?",))
    assert replayed.ended.status == 0, replayed
    assert replayed.report["masked_bytes"] == 6 * len("request")


def test_a_live_server_that_answers_otherwise(recorded: Place) -> None:
    sink = f"server: {python('clients.py', 'shout', PORT)}"
    replayed = replay(recorded, sink, options=OPTIONS)
    assert replayed.first["process"] == "server"
    assert_diverged(replayed, "different", record=0, offset=0)


def assert_diverged(replayed: Replayed, kind: str, *, record: int | None, offset: int) -> None:
    assert replayed.ended.status == DIVERGED, replayed
    first = replayed.first
    assert (first["kind"], first["record"], first["offset"]) == (kind, record, offset), replayed
