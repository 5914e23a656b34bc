"""Dumps of the original program, from a small writer of them and from one that it wrote itself."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netplayground.dump.lanes import PIECE
from netplayground.dump.model import CLIENT, SERVER, Connection, Ending, Event, EventKind, State
from netplayground.dump.source import Source
from netplayground.dump.tunreplay import LINE_MOST, TunReplayDump, is_tunreplay
from netplayground.errors import DamagedDumpError, NotADumpError

SAMPLE = Path(__file__).with_name("http.tun-replay")


class Record(NamedTuple):
    """What one line and its bytes tell."""

    time_us: int
    data: bytes
    client: str
    server: str
    port: int
    side: int


def emit(records: list[Record]) -> bytes:
    """Write as the original does."""
    return b"".join(
        f"{time_us} {len(data)} {client} {server} {port} {side}\n".encode() + data
        for time_us, data, client, server, port, side in records
    )


def talk(*said: tuple[int, bytes], client: str = "10.0.0.2", server: str = "10.0.0.1") -> list[Record]:
    """Give the records of one lane, a microsecond apart."""
    return [Record(1_000_000 + n, data, client, server, 80, side) for n, (side, data) in enumerate(said)]


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[TunReplayDump]:
    path.write_bytes(data)
    with open_tunreplay(path) as dump:
        yield dump


def open_tunreplay(path: Path) -> TunReplayDump:
    source = Source(path)
    try:
        return TunReplayDump(source)
    except BaseException:
        source.close()
        raise


def read_back(dump: TunReplayDump) -> list[Record]:
    """Give the records that the events, made-up ones left out, tell of."""
    ends = {connection.id: connection for connection in dump.connections}
    back = []
    for identity, event in dump.all_events():
        if event.kind in (EventKind.CHUNK, EventKind.FIN):
            client, server = ends[identity].client, ends[identity].server
            assert event.time_ns % 1000 == 0
            data = dump.payload(event)
            assert (event.kind is EventKind.CHUNK) == (data != b"")
            now = event.time_ns // 1000
            back.append(Record(now, data, str(client.address), str(server.address), server.port, event.side))
    return back


def assert_summaries_agree(dump: TunReplayDump) -> None:
    """What connections say of themselves is what their events come to."""
    by_connection: list[list[Event]] = [[] for _ in dump.connections]
    for identity, event in dump.all_events():
        by_connection[identity].append(event)
    for connection, events in zip(dump.connections, by_connection, strict=True):
        assert list(dump.events(connection.id)) == events
        assert_agrees(connection, events)
    assert dump.totals.connections == len(by_connection)
    assert dump.totals.events == sum(map(len, by_connection))
    said = [sum(connection.bytes[side] for connection in dump.connections) for side in (CLIENT, SERVER)]
    assert dump.totals.bytes == tuple(said)


def assert_agrees(connection: Connection, events: list[Event]) -> None:
    kinds = [(event.kind, event.side) for event in events]
    assert kinds[:2] == [(EventKind.SYN, CLIENT), (EventKind.ESTABLISHED, SERVER)]
    assert [event.time_ns for event in events[:3]] == [connection.opened_ns] * 3
    assert connection.established_ns == connection.opened_ns
    for side in (CLIENT, SERVER):
        chunks = [event for event in events if event.kind is EventKind.CHUNK and event.side == side]
        assert connection.chunks[side] == len(chunks)
        assert connection.bytes[side] == sum(event.length for event in chunks)
        mine = [kind for kind, by in kinds[2:] if by == side]
        assert EventKind.FIN not in mine[:-1]
    if kinds.count((EventKind.FIN, CLIENT)) and kinds.count((EventKind.FIN, SERVER)):
        assert (connection.ending, connection.closed_ns) == (Ending.CLOSED, events[-1].time_ns)
    else:
        assert (connection.ending, connection.closed_ns) == (Ending.OPEN, None)


def test_what_the_original_wrote_is_read() -> None:
    with open_tunreplay(SAMPLE) as dump:
        assert [(p.name, p.position, *map(str, p.addresses)) for p in dump.processes] == [
            ("p1", 1, "10.0.0.1"),
            ("p2", 2, "10.0.0.2"),
        ]
        assert (dump.run.subnets, dump.run.started_ns) == (("10.0.0.0/24",), 1795226058910912000)
        assert (dump.state, dump.missing, dump.ambiguous) == (State.COMPLETE, "", "")
        assert dump.ended_ns == dump.connections[-1].closed_ns
        assert [connection.bytes for connection in dump.connections] == [(87, 197), (88, 9081), (84, 520)]
        assert {str(c.server) for c in dump.connections} == {"10.0.0.1:8080"}
        assert {(c.client_process, c.server_process) for c in dump.connections} == {("p2", "p1")}
        assert len({c.client.port for c in dump.connections}) == 3
        assert [kind.value for kind, _ in told(dump, 0)] == [
            "syn",
            "established",
            *["chunk"] * 2,
            *["fin"] * 2,
        ]
        asked = [data.split(b" ")[1] for _id, event in dump.all_events() if (data := said(dump, event))]
        assert asked == [b"/index.html", b"/numbers.txt", b"/missing"]
        assert list(dump.facts()) == [] == list(dump.datagrams())
        assert list(dump.in_order()) == list(dump.all_events())
        assert_summaries_agree(dump)
        assert emit(read_back(dump)) == SAMPLE.read_bytes()


def told(dump: TunReplayDump, connection: int) -> list[tuple[EventKind, bytes]]:
    return [(event.kind, dump.payload(event)) for event in dump.events(connection)]


def said(dump: TunReplayDump, event: Event) -> bytes:
    """What a client said."""
    return dump.payload(event) if event.side == CLIENT else b""


def test_an_address_met_nowhere_is_a_process_that_says_nothing(tmp_path: Path) -> None:
    records = talk((0, b"a"), client="10.0.7.5", server="10.0.7.2")
    with opened(tmp_path / "d", emit(records)) as dump:
        names = [(process.name, str(process.addresses[0])) for process in dump.processes]
    assert names == [(f"p{n}", f"10.0.7.{n}") for n in range(1, 6)]


@pytest.mark.parametrize("odd", ["10.0.1.2", "9.0.0.1", "10.0.0.0"])
def test_addresses_of_no_one_subnet_are_processes_in_their_order(tmp_path: Path, odd: str) -> None:
    records = talk((0, b"a")) + talk((0, b"a"), client=odd, server="10.0.0.7")
    with opened(tmp_path / "d", emit(records)) as dump:
        found = [str(process.addresses[0]) for process in dump.processes]
        assert [(p.name, p.position) for p in dump.processes] == [(f"p{n}", n) for n in range(1, 5)]
    assert found == sorted(["10.0.0.1", "10.0.0.2", "10.0.0.7", odd], key=IPv4Address)


def test_long_bytes_are_several_chunks(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE + 3)
    with opened(tmp_path / "d", emit(talk((0, data), (1, b"x" * PIECE)))) as dump:
        chunks = [event for _id, event in dump.all_events() if event.kind is EventKind.CHUNK]
        assert [event.length for event in chunks] == [PIECE, PIECE, 3, PIECE]
        assert b"".join(map(dump.payload, chunks[:3])) == data
        assert dump.read(chunks[1].offset + 7, 9) == data[PIECE + 7 :][:9]
        assert_summaries_agree(dump)


def test_clients_ports_are_distinct(tmp_path: Path) -> None:
    records = [record for _ in range(1000) for record in talk((0, b"a"), (0, b""), (1, b""))]
    with opened(tmp_path / "d", emit(records)) as dump:
        ports = {connection.client.port for connection in dump.connections}
    assert len(ports) == 1000 and min(ports) >= 32768 and max(ports) < 61000


def test_parallel_conversations_are_named(tmp_path: Path) -> None:
    alone = talk((0, b"q"), (1, b"a"), (0, b""), (1, b""))
    mixed = talk((0, b"p"), (0, b"q"), (1, b"a"), (1, b""), (1, b""), (0, b""), (0, b""), client="10.0.0.3")
    with opened(tmp_path / "d", emit(alone + mixed + alone)) as dump:
        assert len(dump.connections) == 4
        assert dump.ambiguous == (
            "connections 1, 2 from 10.0.0.3 to 10.0.0.1:80: may have been open at the same time, "
            "and the file does not say whose bytes are whose"
        )
    with opened(tmp_path / "d", emit(mixed * 20 + talk((0, b""), (0, b""), (0, b"q")))) as dump:
        assert "10, 11, 12, 13, 14, 15 and 24 more from 10.0.0.3" in dump.ambiguous


def test_many_mixed_pairs_are_counted(tmp_path: Path) -> None:
    mixed = (0, b"p"), (1, b""), (1, b"")
    records = [record for n in range(2, 32) for record in talk(*mixed, client=f"10.0.0.{n}")]
    with opened(tmp_path / "d", emit(records)) as dump:
        assert "; those between 14 more pairs: may have been" in dump.ambiguous


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"17 3 10.0.0.2 10.0.0.1 80 2\nabc", "not a line"),
        (b"17 -3 10.0.0.2 10.0.0.1 80 0\nabc", "not a line"),
        (b"17 03 10.0.0.2 10.0.0.1 80 0\nabc", "not a line"),
        (b"0 3 10.0.0.2 10.0.0.1 80 0\nabc", "not a line"),
        (b"17 3 10.0.0.2 10.0.0.1 80 0\r\nabc", "not a line"),
        (b"9" * 17 + b" 3 10.0.0.2 10.0.0.1 80 0\nabc", "not a line"),
        (b"17 3  10.0.0.2 10.0.0.1 80 0\nabc", "not a line"),
        (b"1" * 200, "not a line"),
        (b"\n", "not a line"),
        (b"abc", "not a line"),
        (b"17 3 10.0.0.256 10.0.0.1 80 0\nabc", "an address or a port that cannot be"),
        (b"17 3 10.0.0.2 10.0.0.01 80 0\nabc", "an address or a port that cannot be"),
        (b"17 3 10.0.0.2 10.0.0.1 65536 0\nabc", "an address or a port that cannot be"),
        (b"17 3 10.0.0.2 10.0.0.1 0 0\nabc", "not a line"),
        (b"17 3 10.0.0.2 10.0.0.1 080 0\nabc", "not a line"),
    ],
)
def test_a_malformed_line_is_damage_at_its_place(tmp_path: Path, line: bytes, cause: str) -> None:
    good = emit(talk((0, b"a\nb")))
    with pytest.raises(DamagedDumpError, match=cause) as caught, opened(tmp_path / "d", good + line + good):
        pass
    assert caught.value.offset == len(good)
    assert str(caught.value).startswith(f"cannot read {tmp_path / 'd'}: damaged at byte {len(good)}: ")
    assert "\n" not in str(caught.value)
    assert not is_tunreplay(line)
    with (
        pytest.raises(NotADumpError, match="not a dump of the original program"),
        opened(tmp_path / "d", line),
    ):
        pass


def test_an_empty_file_is_no_dump(tmp_path: Path) -> None:
    with pytest.raises(NotADumpError, match="the file is empty"), opened(tmp_path / "d", b""):
        pass


def test_a_file_cut_off_anywhere_is_read_as_far_as_whole_records_go(tmp_path: Path) -> None:
    records = talk((0, b"question"), (1, b"ans\nwer"), (1, b""), (0, b"17 "), (0, b""), (0, b"again"))
    whole = [len(emit(records[:n])) for n in range(len(records) + 1)]
    data, path = emit(records), tmp_path / "d"
    path.write_bytes(data)
    for cut in range(len(data), 0, -1):
        os.truncate(path, cut)
        count = sum(end <= cut for end in whole) - 1
        if not count:
            with pytest.raises(
                NotADumpError, match=r"cut off at byte \d+, nothing|not a dump of the original"
            ):
                open_tunreplay(path)
            continue
        with open_tunreplay(path) as dump:
            assert read_back(dump) == records[:count]
            assert_summaries_agree(dump)
            if cut == whole[count]:
                assert (dump.state, dump.missing) == (State.COMPLETE, "")
                assert dump.ended_ns == records[count - 1].time_us * 1000
                continue
            assert (dump.state, dump.ended_ns) == (State.TORN, None)
            rest = f"what the last {cut - whole[count]} bytes told, from byte {whole[count]} on"
            assert dump.missing.startswith(rest)
            assert dump.missing.endswith("; the end of 1 connection") == (count != 5)


def test_a_length_beyond_the_end_takes_no_memory(tmp_path: Path) -> None:
    line = b"17 9999999999999999 10.0.0.2 10.0.0.1 80 0\nabc"
    with opened(tmp_path / "d", emit(talk((0, b"a"))) + line) as dump:
        assert dump.missing.startswith(f"what the last {len(line)} bytes told, from byte 34 on")
        assert "(9999999999999999 bytes announced, 3 there)" in dump.missing


def test_no_payload_is_held(tmp_path: Path) -> None:
    size = 1 << 30
    with (tmp_path / "d").open("wb") as file:
        file.write(f"17 {size} 10.0.0.2 10.0.0.1 80 0\n".encode())
        file.seek(size, os.SEEK_CUR)
        file.write(emit(talk((1, b"a"))))
    tracemalloc.start()
    try:
        with open_tunreplay(tmp_path / "d") as dump:
            lengths = sum(event.length for _id, event in dump.all_events())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert lengths == size + 1
    assert peak < 8 << 20


def test_a_file_changed_while_it_is_read_is_damage(tmp_path: Path) -> None:
    records = talk((0, b"question"), (1, b"answer"))
    with opened(tmp_path / "d", emit(records)) as dump:
        os.truncate(tmp_path / "d", 20)
        with pytest.raises(DamagedDumpError, match=r"changed after it was opened|shorter"):
            list(dump.all_events())


_records = st.lists(
    st.builds(
        Record,
        time_us=st.integers(1, 10**16 - 1),
        data=st.one_of(st.just(b""), st.binary(max_size=60), st.just(emit(talk((0, b"a"))))),
        client=st.sampled_from(["10.0.0.2", "10.0.0.3", "255.255.255.255"]),
        server=st.sampled_from(["10.0.0.1", "1.2.3.4"]),
        port=st.sampled_from([1, 65535]),
        side=st.integers(0, 1),
    ),
    min_size=1,
    max_size=40,
)


@given(records=_records)
def test_what_was_written_is_read(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "written"
    with opened(path, emit(records)) as dump:
        assert read_back(dump) == records
        assert_summaries_agree(dump)
        assert dump.run.started_ns == records[0].time_us * 1000
        assert dump.state is State.COMPLETE


@st.composite
def _any_bytes(draw: st.DrawFn) -> bytes:
    """A file of records, and somewhere in it bytes that are not what they should be."""
    data = emit(draw(_records))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
    junk = st.one_of(st.binary(max_size=20), st.text("0123456789. \n", max_size=90).map(str.encode))
    return data[:start] + draw(junk) + data[end if draw(st.booleans()) else start :]


@given(data=st.one_of(_any_bytes(), st.binary(max_size=100)))
@example(data=emit(talk((0, b"a"))) + b"17 0 10.0.0.2 10.0.0.1 080 0\n")
def test_any_bytes_give_a_value_or_the_one_error(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    try:
        dump = open_tunreplay(path)
    except NotADumpError:
        assert not is_tunreplay(data[:LINE_MOST]) or len(data) < data.index(b"\n") + 1 + int(data.split()[1])
        return
    except DamagedDumpError as error:
        assert is_tunreplay(data[:LINE_MOST]) and 0 < error.offset < len(data)
        return
    with dump:
        back = read_back(dump)
        assert_summaries_agree(dump)
    assert data.startswith(emit(back)) and (len(emit(back)) == len(data)) == (not dump.missing)
