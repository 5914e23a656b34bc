"""A recording as events in one order: what each side said, who took part, where it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from dump.making import FAMILIES, connect, create, every_ending, opened, say, writing

from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.reader import open_dump
from netplayground.dump.writer import DumpWriter
from netplayground.replay.tape import CHUNK, ESTABLISHED, FIN, NONE, RST, SYN, Outcome, Tape, load_tape

DB, APP = 0, 1


def run(writer: DumpWriter) -> None:
    """A run of one conversation that plg ended."""
    for name in ("db", "app"):
        writer.fact("process-started", process=name)
    line = opened(writer)
    say(line, CLIENT, b"question")
    say(line, SERVER, b"ans")
    say(line, SERVER, b"wer")
    line.fin(CLIENT)
    writer.fact("process-ended", process="app", status=0)
    writer.fact("ending", why="app ended")
    writer.fact("process-signalled", process="db", signal="SIGTERM")
    say(line, SERVER, b"good bye")
    line.fin(SERVER)
    opened(writer, port=40001)
    writer.fact("process-ended", process="db", status=0)


def load(path: Path) -> Tape:
    with open_dump(path) as dump:
        return load_tape(dump)


def codes(tape: Tape, number: int) -> list[int]:
    return [tape.code[event] for event in range(len(tape)) if tape.record[event] == number]


def test_events_stand_in_order_with_what_was_said_until_then(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        run(writer)
    with open_dump(tmp_path / "d") as dump:
        tape = load_tape(dump)
        said = [tape.read(tape.offset[event], tape.length[event]) for event in range(len(tape))]
    assert said == [b"", b"", b"question", b"ans", b"wer", b""]
    assert list(tape.code) == [
        SYN,
        ESTABLISHED,
        CHUNK | CLIENT,
        CHUNK | SERVER,
        CHUNK | SERVER,
        FIN | CLIENT,
    ]
    assert list(tape.upto) == [0, 0, 8, 3, 6, 8]
    assert list(tape.against) == [0, 0, 0, 8, 8, 6]
    assert list(tape.time) == sorted(tape.time)
    (record,) = tape.records
    assert (record.processes, record.port, record.bytes) == ((APP, DB), 80, [8, 6])
    assert (record.heads, record.tails, record.fins) == ([2, 3], [5, 4], [5, NONE])
    assert [tape.succ[event] for event in (2, 3, 4, 5)] == [5, 4, NONE, NONE]


def test_what_came_after_plg_began_to_end_the_run_is_not_on_it(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        run(writer)
    tape = load(tmp_path / "d")
    assert tape.mark_ns is not None
    assert tape.mark_ns > tape.time[len(tape) - 1]
    assert len(tape.records) == 1
    assert tape.records[0].is_open
    assert not tape.is_torn


def test_it_knows_who_started_when_and_who_ended_by_itself(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        run(writer)
    tape = load(tmp_path / "d")
    db, app = tape.lives
    assert (db.started_ns, db.was_ended_by_plg, db.ended_ns) == (0, True, None)
    assert app.started_ns is not None and app.ended_ns is not None and tape.mark_ns is not None
    assert 0 < app.started_ns < tape.time[0] < app.ended_ns < tape.mark_ns
    assert not app.was_ended_by_plg


@pytest.mark.parametrize("family", FAMILIES)
def test_each_ending_is_kept(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, family)
    tape = load(tmp_path / "d")
    assert [record.outcome for record in tape.records] == [
        *[Outcome.ACCEPTED] * 4,
        Outcome.REFUSED,
        Outcome.UNREACHABLE,
        Outcome.UNANSWERED,
        Outcome.ABORTED,
        Outcome.ACCEPTED,
    ]
    assert codes(tape, 2)[-1] == RST | CLIENT
    assert codes(tape, 3)[-1] == RST | SERVER
    assert codes(tape, 4) == [SYN]
    assert [record.is_open for record in tape.records] == [False] * 8 + [True]
    assert tape.mark_ns is None


def test_a_torn_dump_gives_all_that_is_whole_and_says_what_is_missing(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    run(writer)
    writer.close(complete=False)
    whole = (tmp_path / "d").read_bytes()
    events = set()
    for size in range(len(whole), len(whole) // 2, -7):
        (tmp_path / "torn").write_bytes(whole[:size])
        tape = load(tmp_path / "torn")
        assert tape.is_torn
        assert "end of the run" in tape.missing
        events.add(len(tape))
    assert max(events) == 6
    assert len(events) > 2


def test_an_address_of_no_process_is_nobodys(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        stranger = writer.connection(4, bytes([10, 0, 0, 2]), 40000, bytes([10, 0, 0, 99]), 80)
        stranger.syn()
        stranger.unreachable()
        connect(writer).syn()
    tape = load(tmp_path / "d")
    assert [record.processes for record in tape.records] == [(APP, -1), (APP, DB)]
    assert tape.records[1].outcome is Outcome.UNANSWERED


def test_a_recording_without_a_connection_is_an_empty_tape(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        writer.fact("process-started", process="db")
        writer.fact("ending", why="timeout")
    tape = load(tmp_path / "d")
    assert len(tape) == 0
    assert (tape.lives[0].started_ns, tape.mark_ns) == (0, 1000)


def test_so_is_one_that_ended_by_itself(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for name in ("db", "app"):
            writer.fact("process-started", process=name)
        writer.fact("process-ended", process="db", status=0)
    tape = load(tmp_path / "d")
    assert tape.mark_ns is None
    assert [life.started_ns for life in tape.lives] == [0, 1000]
    assert tape.lives[0].ended_ns == 2000
