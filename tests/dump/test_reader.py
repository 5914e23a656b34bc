"""What was written is what is read: complete, torn at any byte, or still being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dump.making import FAMILIES, RUN, WALL_NS, connect, create, every_ending, opened, say, writing
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.dump import blocks
from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.model import CLIENT, SERVER, Connection, Ending, Event, EventKind, State
from netplayground.dump.reader import Dump, open_dump
from netplayground.errors import DamagedDumpError, DumpError, NotADumpError

Told = list[tuple[EventKind, int, bytes]]


def told(dump: Dump, connection: int) -> Told:
    return [(event.kind, event.side, dump.payload(event)) for event in dump.events(connection)]


def everything(dump: Dump) -> tuple[list[Connection], list[tuple[int, Event]], list[object]]:
    connections = list(dump.connections)
    by_connection = [list(dump.events(connection.id)) for connection in connections]
    in_order = list(dump.all_events())
    for connection in connections:
        assert [event for identity, event in in_order if identity == connection.id] == by_connection[
            connection.id
        ]
    return connections, in_order, list(dump.facts())


def small_dump(path: Path, complete: bool = True) -> bytes:
    writer = create(path)
    writer.fact("process-ready", process="db", ports=[80])
    for family in FAMILIES:
        every_ending(writer, family)
    writer.close(complete)
    return path.read_bytes()


def test_run_header_and_facts_come_back(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        writer.fact("process-ready", process="db", command="\udcff'\n")
        connection = opened(writer)
        connection.note("urgent", side="client")
    with open_dump(tmp_path / "d") as dump:
        assert (dump.run.subnets, dump.run.processes, dump.run.options) == (
            RUN.subnets,
            RUN.processes,
            RUN.options,
        )
        assert dump.run.started_ns == WALL_NS
        assert dump.state is State.COMPLETE and dump.missing == ""
        ready, urgent = dump.facts()
    assert (ready.kind, ready.connection, ready.fields) == (
        "process-ready",
        None,
        {"process": "db", "command": "\udcff'\n"},
    )
    assert (urgent.kind, urgent.connection, urgent.fields) == ("urgent", 0, {"side": "client"})
    assert WALL_NS < ready.time_ns < urgent.time_ns


@pytest.mark.parametrize("family", FAMILIES)
def test_each_ending_is_told(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, family)
    with open_dump(tmp_path / "d") as dump:
        assert [connection.ending for connection in dump.connections] == [
            Ending.CLOSED,
            Ending.CLOSED,
            Ending.RESET_BY_CLIENT,
            Ending.RESET_BY_SERVER,
            Ending.REFUSED,
            Ending.UNREACHABLE,
            Ending.UNANSWERED,
            Ending.ABORTED,
            Ending.OPEN,
        ]
        assert told(dump, 0) == [
            (EventKind.SYN, CLIENT, b""),
            (EventKind.ESTABLISHED, SERVER, b""),
            (EventKind.CHUNK, CLIENT, b"question"),
            (EventKind.FIN, CLIENT, b""),
            (EventKind.CHUNK, SERVER, b"answer after the half-close"),
            (EventKind.FIN, SERVER, b""),
        ]
        assert [told(dump, which)[-1][:2] for which in range(2, 9)] == [
            (EventKind.RST, CLIENT),
            (EventKind.RST, SERVER),
            (EventKind.REFUSED, SERVER),
            (EventKind.UNREACHABLE, SERVER),
            (EventKind.UNANSWERED, SERVER),
            (EventKind.ABORTED, CLIENT),
            (EventKind.CHUNK, CLIENT),
        ]
        first, last = dump.connections[0], dump.connections[-1]
    assert (first.client_process, first.server_process) == ("app", "db")
    assert (first.client.port, first.server.port) == (40000, 80)
    assert first.bytes == (8, 27) and first.chunks == (1, 1)
    assert first.opened_ns < (first.established_ns or 0) < (first.closed_ns or 0)
    assert last.closed_ns is None and last.bytes == (9, 0)


def test_payload_is_read_by_its_place_in_the_file(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"question")
    with open_dump(tmp_path / "d") as dump:
        chunk = list(dump.events(0))[-1]
        assert dump.read(chunk.offset + 1, 5) == b"uesti"
        with pytest.raises(DamagedDumpError, match="lie beyond its end"):
            dump.read(chunk.offset, dump.size)


def test_a_torn_dump_reads_like_a_complete_one(tmp_path: Path) -> None:
    small_dump(tmp_path / "complete")
    small_dump(tmp_path / "torn", complete=False)
    with open_dump(tmp_path / "complete") as complete, open_dump(tmp_path / "torn") as torn:
        assert everything(torn)[1:] == everything(complete)[1:]
        for one, other in zip(torn.connections, complete.connections, strict=True):
            assert (one.id, one.bytes, one.ending, one.closed_ns) == (
                other.id,
                other.bytes,
                other.ending,
                other.closed_ns,
            )
        assert torn.totals == complete.totals
        assert torn.state is State.TORN
        assert torn.missing == "the end of the run and its index; the end of 2 connections"


def test_an_open_dump_cut_at_any_byte_gives_every_whole_block(tmp_path: Path) -> None:
    path = tmp_path / "d"
    data = small_dump(path, complete=False)
    with open_dump(path) as dump:
        start, whole = dump.start, [event for event in dump.all_events() if event[1].length]
    for cut in range(len(data), -1, -1):
        os.truncate(path, cut)
        if cut < start:
            with pytest.raises(
                NotADumpError, match=r"cannot read .*: (the file is empty|not a dump|cut off)"
            ):
                open_dump(path)
            continue
        with open_dump(path) as dump:
            _connections, in_order, _facts = everything(dump)
            chunks = [event for event in in_order if event[1].length]
            # Payload is followed by padding and the block's length.
            assert chunks == [each for each in whole if (each[1].offset + each[1].length + 3 & ~3) + 4 <= cut]
            assert "the end of the run" in dump.missing
            assert ("bytes told" in dump.missing) == (dump.end < cut)


def test_a_complete_dump_cut_at_any_byte_is_damaged_where_it_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "d"
    data = small_dump(path)
    for cut in range(len(data) - 1, blocks.SECTION_LENGTH, -1):
        os.truncate(path, cut)
        with pytest.raises((DamagedDumpError, NotADumpError)) as caught:
            open_dump(path)
        if isinstance(caught.value, DamagedDumpError):
            assert caught.value.offset <= cut
            assert f"damaged at byte {caught.value.offset}" in str(caught.value)
        else:
            assert "nothing whole is left" in str(caught.value)


def test_a_dump_that_is_being_written_reads_as_torn(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    connection = opened(writer)
    say(connection, CLIENT, b"one")
    with open_dump(tmp_path / "d") as dump:
        say(connection, SERVER, b"two")
        assert dump.state is State.TORN
        assert [data for _kind, _side, data in told(dump, 0)] == [b"", b"", b"one"]
    writer.close()


FOREIGN = "a pcapng file, but not one that plg has written; plg import makes a dump of it"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "the file is empty"),
        (b"GET / HTTP/1.1\r\n" * 30, "not a dump"),
        (bytes(4096), "not a dump"),
        (b"\n\r\r\n" + bytes(200), FOREIGN),
        (
            b"\n\r\r\n\0\0\0\x1c\x1a\x2b\x3c\x4d\0\1\0\0" + b"\xff" * 8 + b"\0\0\0\x1c" + bytes(200),
            FOREIGN,
        ),
        (
            blocks.emit_section(blocks.STATE_OPEN, "9.9").replace(b"format 001", b"format 002"),
            "a dump of format 2, this plg reads format 1",
        ),
    ],
)
def test_what_is_no_dump_is_refused_in_one_line(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "d"
    path.write_bytes(content)
    with pytest.raises(NotADumpError) as caught:
        open_dump(path)
    assert str(caught.value) == f"cannot read {path}: {cause}"


def test_a_directory_and_a_fifo_are_no_dumps(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(NotADumpError, match="not a regular file"):
            open_dump(path)
    with pytest.raises(DumpError, match=r"cannot open .*: No such file or directory"):
        open_dump(tmp_path / "missing")


def test_a_tuple_used_again_before_the_old_connection_ended_is_told_apart(tmp_path: Path) -> None:
    for complete in (True, False):
        writer = create(tmp_path / "d")
        for family in FAMILIES:
            old = opened(writer, family)
            say(old, CLIENT, b"old")
            new = connect(writer, family)
            new.syn()
            say(old, SERVER, b"to the old one")
            new.established()
            say(new, CLIENT, b"new")
            old.rst(SERVER)
            say(new, SERVER, b"to the new one")
            new.fin(CLIENT)
        writer.close(complete)
        with open_dump(tmp_path / "d") as dump:
            for first in (0, 2):
                assert [data for *_, data in told(dump, first) if data] == [b"old", b"to the old one"]
                assert [data for *_, data in told(dump, first + 1) if data] == [b"new", b"to the new one"]
                assert dump.connections[first].ending is Ending.RESET_BY_SERVER
            everything(dump)


def test_an_impossible_connection_number_is_an_index_error(tmp_path: Path) -> None:
    small_dump(tmp_path / "d")
    with open_dump(tmp_path / "d") as dump:
        assert len(dump.connections) == 18
        assert [connection.id for connection in dump.connections[-3:]] == [15, 16, 17]
        with pytest.raises(IndexError):
            dump.connections[18]


step = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["chunk", "chunk", "chunk", "fin", "rst", "fact"]),
    st.sampled_from([CLIENT, SERVER]),
    st.binary(min_size=1, max_size=40) | st.integers(1, 150_000).map(lambda size: b"z" * size),
)


class Conversation:
    """A connection that does what it is told, where that makes sense, and remembers it."""

    def __init__(self, connection: ConnectionWriter) -> None:
        self.connection = connection
        self.streams = [b"", b""]
        self.turns = [("syn", CLIENT), ("established", SERVER)]

    def do(self, what: str, side: int, data: bytes) -> None:
        has_finished = ("fin", side) in self.turns
        if what == "chunk" and not has_finished:
            say(self.connection, side, data)
            self.streams[side] += data
        elif what == "rst" or (what == "fin" and not has_finished):
            getattr(self.connection, what)(side)
            self.turns.append((what, side))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(step, max_size=40), complete=st.booleans(), family=st.sampled_from(FAMILIES))
def test_any_conversations_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, str, int, bytes]],
    complete: bool,
    family: int,
) -> None:
    path = tmp_path_factory.mktemp("any") / "d"
    writer = create(path)
    live: dict[int, Conversation] = {}
    conversations: list[Conversation] = []
    for slot, what, side, data in steps:
        if what == "fact":
            writer.fact("told", length=len(data))
        elif slot not in live or live[slot].connection.ending is not None:
            live[slot] = Conversation(opened(writer, family, 1000 + slot))
            conversations.append(live[slot])
        else:
            live[slot].do(what, side, data)
    writer.close(complete)
    with open_dump(path) as dump:
        everything(dump)
        assert len(dump.connections) == len(conversations)
        for expected in conversations:
            identity = expected.connection.id
            got = [b"", b""]
            for event in dump.events(identity):
                got[event.side] += dump.payload(event)
            assert got == expected.streams
            assert dump.connections[identity].bytes == tuple(map(len, got))
            turns = [(event.kind.value, event.side) for event in dump.events(identity) if not event.length]
            assert turns == expected.turns


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_torn_dump_with_changed_bytes_gives_values_or_the_one_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("changed") / "d"
    content = bytearray(small_dump(path, complete=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        with open_dump(path) as dump:
            for connection in dump.connections:
                for event in dump.events(connection.id):
                    dump.payload(event)
            list(dump.all_events())
            list(dump.facts())
    except DumpError as error:
        assert str(path) in str(error)
