"""Datagrams of a dump: what was put in is what is read back, named, in order, and found by every index."""

from __future__ import annotations

import errno
import os
import tempfile
from ipaddress import ip_address
from pathlib import Path

import pytest
from dump.making import FAMILIES, connect, create, every_ending, opened, say, writing
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.dump import blocks
from netplayground.dump.check import check_dump
from netplayground.dump.datagram import HEADROOM, ROOM, DatagramWriter
from netplayground.dump.datagrams import DatagramReader
from netplayground.dump.model import CLIENT, Datagram, Ending, State
from netplayground.dump.reader import Dump, open_dump
from netplayground.dump.source import Source
from netplayground.dump.writer import DumpWriter
from netplayground.errors import DamagedDumpError, DumpError
from netplayground.packet import MalformedPacket, icmp, ip, udp

DB = {4: ip_address("10.0.0.1"), 6: ip_address("fd00:706c:67::1")}
APP = {4: ip_address("10.0.0.2"), 6: ip_address("fd00:706c:67::2")}
ALL = {4: ip_address("255.255.255.255"), 6: ip_address("ff02::fb")}
NOBODY = {4: ip_address("10.0.0.99"), 6: ip_address("fd00:706c:67::99")}
LINK_LOCAL = ip_address("fe80::2")
ECHO = (8, 128)
SIZES = (0, 1, 2, 3, 1472, 1473, 65_507)


def datagram(family: int, payload: bytes, port: int = 5353) -> bytes:
    return udp.emit_packet(APP[family].packed, 40_000, DB[family].packed, port, payload)


def put(writer: DumpWriter, *packets: bytes) -> DatagramWriter:
    """Write each packet by itself."""
    batch = writer.datagrams()
    for packet in packets:
        batch.put(packet)
        batch.commit()
    return batch


def said(dump: Dump) -> list[bytes]:
    return [dump.payload(each) for each in dump.datagrams()]


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_comes_back_with_its_ends_and_its_payload(
    tmp_path: Path, family: int, complete: bool
) -> None:
    writer = create(tmp_path / "d")
    packets = [datagram(family, bytes([size & 255]) * size) for size in SIZES]
    put(writer, *packets)
    writer.close(complete)
    with open_dump(tmp_path / "d") as dump:
        found = list(dump.datagrams())
        assert said(dump) == [bytes([size & 255]) * size for size in SIZES]
        assert [dump.source.read(each.packet_offset, each.packet_length) for each in found] == packets
        assert dump.totals.datagrams == len(SIZES)
        assert dump.state is (State.COMPLETE if complete else State.TORN)
    for each in found:
        assert (each.source, each.source_port, each.sender) == (APP[family], 40_000, "app")
        assert (each.destination, each.destination_port, each.receiver) == (DB[family], 5353, "db")
        assert each.is_udp
    assert [each.time_ns for each in found] == sorted(each.time_ns for each in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_for_all_or_not_udp_says_so(tmp_path: Path, family: int) -> None:
    ping = icmp.emit_message(APP[family].packed, DB[family].packed, ECHO[family == 6], 0, b"id56data")
    to_all = udp.emit_packet(APP[family].packed, 1, ALL[family].packed, 2, b"anybody?")
    with writing(tmp_path / "d") as writer:
        put(writer, ping, to_all)
    with open_dump(tmp_path / "d") as dump:
        first, second = dump.datagrams()
        assert dump.payload(first)[4:] == b"id56data"
    assert (first.protocol, first.source_port, first.destination_port) == ((ip.ICMP, 0, 0), (58, 0, 0))[
        family == 6
    ]
    assert not first.is_udp
    assert (second.sender, second.receiver, second.destination) == ("app", None, ALL[family])


def test_link_local_addresses_are_known(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        put(writer, udp.emit_packet(LINK_LOCAL.packed, 5353, ALL[6].packed, 5353, b"mdns"))
    with open_dump(tmp_path / "d") as dump:
        [found] = dump.datagrams()
    assert (found.sender, found.source) == ("app", LINK_LOCAL)


def test_who_has_no_address_yet_is_named_all_the_same(tmp_path: Path) -> None:
    solicitation = icmp.emit_message(bytes(16), ALL[6].packed, 135, 0, bytes(20))
    error = icmp.emit_unreachable(datagram(4, b"hello?"))
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        batch.put_named(solicitation, 2)
        batch.put(datagram(4, b"between"))
        batch.put_named(error, 0)
        batch.commit()
    with open_dump(tmp_path / "d") as dump:
        assert [each.sender for each in dump.datagrams()] == ["app", "app", None]
        assert [each.length for each in dump.datagrams()] == [24, 7, 8 + 20 + 8 + 6]
    check_dump(tmp_path / "d")


@pytest.mark.parametrize("family", FAMILIES)
def test_an_error_that_a_process_sends_ends_no_connection(tmp_path: Path, family: int) -> None:
    with writing(tmp_path / "d") as writer:
        first, second = (connect(writer, family, port) for port in (1, 2))
        first.syn()
        second.syn()
        writer.flush()
        syn = _packets(tmp_path / "d")[0]
        forged = icmp.emit_unreachable(syn)
        batch = writer.datagrams()
        batch.put_named(forged, 1)
        batch.commit()
        first.established()
        second.unreachable()
    check_dump(tmp_path / "d")
    with open_dump(tmp_path / "d") as dump:
        assert [each.ending for each in dump.connections] == [Ending.OPEN, Ending.UNREACHABLE]
        assert [each.sender for each in dump.datagrams()] == ["db"]


def _packets(path: Path) -> list[bytes]:
    source = Source(path)
    content = source.read(0, source.size)
    source.close()
    found, at = [], 0
    while at < len(content):
        kind, length = blocks.WORDS.unpack_from(content, at)
        if kind == blocks.PACKET:
            size = int.from_bytes(content[at + 20 : at + 24], "big")
            found.append(content[at + 28 : at + 28 + size])
        at += length
    return found


@pytest.mark.parametrize("complete", [True, False])
def test_datagrams_stand_among_the_events_in_the_order_of_the_run(tmp_path: Path, complete: bool) -> None:
    writer = create(tmp_path / "d")
    connection = opened(writer)
    batch = writer.datagrams()
    for number in range(100):
        say(connection, number & 1, b"chunk %d" % number)
        for part in range(number % 4):
            batch.put(datagram(4 if number & 4 else 6, b"datagram %d.%d" % (number, part)))
        batch.commit()
        writer.fact("noted")
    writer.close(complete)
    with open_dump(tmp_path / "d") as dump:
        told = list(dump.in_order())
        times = [each.time_ns if isinstance(each, Datagram) else each[1].time_ns for each in told]
        assert times == sorted(times)
        assert [each for each in told if isinstance(each, Datagram)] == list(dump.datagrams())
        assert [each for each in told if not isinstance(each, Datagram)] == list(dump.all_events())
        assert len(list(dump.events(0))) == 102
        words = [dump.payload(each if isinstance(each, Datagram) else each[1]) for each in told]
    assert words[2:6] == [b"chunk 0", b"chunk 1", b"datagram 1.0", b"chunk 2"]
    assert dump.totals.datagrams == 150
    check_dump(tmp_path / "d")


def test_a_batch_goes_out_with_one_call_behind_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(tmp_path / "d") as writer:
        connect(writer).syn()
        batch = writer.datagrams()
        places = [batch.put(datagram(4, b"%d" % number)) for number in range(50)]
        before = (tmp_path / "d").stat().st_size
        calls: list[int] = []
        writev = os.writev

        def counting(fd: int, pieces: list[bytes]) -> int:
            calls.append(len(pieces))
            return writev(fd, pieces)

        monkeypatch.setattr(os, "writev", counting)
        batch.commit()
        assert calls == [2]
        assert (tmp_path / "d").stat().st_size > before + 50 * 60
        # Who passes the packets on finds them where they were put, with room before each.
        for number, place in enumerate(places):
            size = 28 + len(b"%d" % number)
            assert bytes(batch.view[place : place + size]) == datagram(4, b"%d" % number)
            assert place >= HEADROOM
    check_dump(tmp_path / "d")


def test_nothing_may_be_written_in_the_middle_of_a_batch(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        batch.put(datagram(4, b"first"))
        writer.fact("too early")
        with pytest.raises(AssertionError, match="middle of a batch"):
            batch.commit()


def test_a_batch_that_cannot_be_written_is_never_taken_for_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = create(tmp_path / "d")
    batch = put(writer, datagram(4, b"before"))
    batch.put(datagram(4, b"lost"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", _no_room)
        for _ in range(2):
            with pytest.raises(DumpError, match="No space left"):
                batch.commit()
    with pytest.raises(DumpError, match="No space left"):
        batch.commit()
    writer.close()
    with open_dump(tmp_path / "d") as dump:
        assert said(dump) == [b"before"]


def _no_room(_fd: int, _pieces: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_batch_has_room_for_the_longest_packet_up_to_its_mark(tmp_path: Path) -> None:
    longest = udp.emit_packet(APP[6].packed, 1, DB[6].packed, 2, bytes(65_527))
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        while batch.fill <= ROOM:
            batch.put(datagram(4, bytes(11)))
            last = batch.fill
        batch.commit()
        while batch.fill + 72 <= ROOM:
            batch.put(datagram(4, bytes(11)))
        assert last > ROOM >= batch.fill
        batch.put_named(longest, 2)
        batch.commit()
    check_dump(tmp_path / "d")
    with open_dump(tmp_path / "d") as dump:
        *_, found = dump.datagrams()
        assert (found.length, found.sender) == (65_527, "app")


def test_a_hundred_thousand_small_ones_agree_with_their_index(tmp_path: Path) -> None:
    """The shortest blocks there are, so that as many events as can be come between two pages."""
    shortest = ip.emit_header(APP[4].packed, DB[4].packed, 47, 0)
    with writing(tmp_path / "d") as writer:
        batch = writer.datagrams()
        for _ in range(100_000):
            if batch.fill > ROOM:
                batch.commit()
            batch.put(shortest)
        batch.commit()
    assert check_dump(tmp_path / "d").totals.datagrams == 100_000
    with open_dump(tmp_path / "d") as dump:
        pages = [entry for entry in dump.entries if entry.what == blocks.EVENT_PAGE]
        assert len(pages) > 3
        assert sum(entry.datagrams for entry in pages) == 100_000
        assert sum(1 for _ in dump.datagrams()) == 100_000


def test_a_torn_dump_gives_every_whole_one(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    put(writer, *(datagram(4, b"%d" % number) for number in range(20)))
    writer.close(complete=False)
    content = (tmp_path / "d").read_bytes()
    counts = set()
    for end in range(len(content) - 20 * 64, len(content), 5):
        (tmp_path / "d").write_bytes(content[:end])
        with open_dump(tmp_path / "d") as dump:
            found = said(dump)
            assert found == [b"%d" % number for number in range(len(found))]
            assert dump.totals.datagrams == len(found)
            counts.add(len(found))
    assert len(counts) > 15


def test_every_changed_byte_of_datagrams_is_found(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, 4)
        batch = put(writer, datagram(4, b"x"), datagram(6, b"y"))
        batch.put_named(icmp.emit_unreachable(datagram(4, b"z")), 1)
        batch.commit()
        say(opened(writer), CLIENT, b"after")
    content = bytearray((tmp_path / "d").read_bytes())
    for offset in range(0, len(content), 3):
        content[offset] ^= 1
        (tmp_path / "d").write_bytes(content)
        content[offset] ^= 1
        with pytest.raises(DamagedDumpError):
            check_dump(tmp_path / "d")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_block_is_a_datagram_or_malformed(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(KNOWN)))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as file:
        file.write(content[: data.draw(st.integers(0, len(content)))])
        file.flush()
        source = Source(Path(file.name))
        try:
            found = DatagramReader(source, ()).read(0)
            assert 28 <= found.offset <= found.offset + found.length <= source.size - 4
            assert found.packet_offset + found.packet_length <= source.size - 4
        except MalformedPacket:
            pass
        finally:
            source.close()


def _known() -> list[bytes]:
    made = []
    for family in FAMILIES:
        made.append(blocks.emit_packet(datagram(family, b"payload"), 1))
        made.append(blocks.emit_packet(icmp.emit_unreachable(datagram(family, b"payload")), 1))
    return made


KNOWN = _known()
