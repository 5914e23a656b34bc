"""A copy of a dump, taken up: what is told behind its last event, and the index that it gets anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dump.making import create, every_ending, opened, say, writing

from netplayground.dump import ledger
from netplayground.dump.check import check_dump
from netplayground.dump.model import CLIENT, State
from netplayground.dump.reader import open_dump
from netplayground.dump.taking_up import copy_whole, take_up


def taken_up(path: Path, facts: int) -> Path:
    output = path.with_name("copy")
    with open_dump(path) as dump:
        fd = os.open(output, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        copy_whole(dump, fd)
        writer = take_up(dump, output, fd, dump.ended_ns or 7)
        for number in range(facts):
            writer.fact("later", number=number)
        writer.close(complete=dump.state is State.COMPLETE)
    return output


@pytest.mark.parametrize("facts", [0, 1, 40_000])
def test_a_copy_with_more_facts_is_complete_and_whole(tmp_path: Path, facts: int) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, 4)
        writer.fact("first")
    copy = taken_up(tmp_path / "d", facts)
    check_dump(copy)
    with open_dump(copy) as dump, open_dump(tmp_path / "d") as original:
        assert list(dump.in_order()) == list(original.in_order())
        assert dump.totals.facts == original.totals.facts + facts
        later = [fact for fact in dump.facts() if fact.kind == "later"]
        assert [fact.fields["number"] for fact in later] == list(range(facts))
        assert {fact.time_ns for fact in later} <= {original.ended_ns}


def test_without_a_change_the_copy_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SUMS_MOST", 2)
    monkeypatch.setattr(ledger, "ENTRIES_MOST", 3)
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        for _ in range(160):
            say(connection, CLIENT, bytes(60_000))
    assert taken_up(tmp_path / "d", 0).read_bytes() == (tmp_path / "d").read_bytes()


def test_a_torn_copy_tells_more_and_stays_torn(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    say(opened(writer), CLIENT, b"and then?")
    writer.close(complete=False)
    with open_dump(taken_up(tmp_path / "d", 3)) as dump:
        assert dump.state is State.TORN and dump.totals.facts == 3
        assert dump.connections[0].bytes == (9, 0)
