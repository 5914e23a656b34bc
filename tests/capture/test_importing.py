"""Captures to dumps: link types, fragments, datagrams, names, several files, and what is said of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from capture.frames import (
    CLIENT6,
    ETHERNET,
    SERVER6,
    START_NS,
    Frame,
    Talk,
    ethernet,
    in_time,
    pcap,
    pcapng,
    simples,
    tcp,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture.hosts import parse_names
from netplayground.capture.importing import Imported, ImportOptions, import_captures
from netplayground.capture.telling import BYTES_DIFFER, BYTES_MISSING, PUT_RIGHT, START_MISSING
from netplayground.dump.check import check_dump
from netplayground.dump.model import Ending, EventKind
from netplayground.dump.reader import open_dump
from netplayground.errors import CaptureError, UsageError
from netplayground.packet import icmp, ip, udp
from netplayground.packet.tcp import ACK, PSH, SYN

Streams = list[tuple[bytes, bytes]]


def take(tmp_path: Path, *captures: bytes, names: dict[str, str] | None = None) -> Imported:
    """Import captures to tmp_path/dump, which must then be whole."""
    paths = tuple(write(tmp_path / f"capture{at}", data) for at, data in enumerate(captures))
    given_names = {ip_address(address): name for address, name in (names or {}).items()}
    imported = import_captures(ImportOptions(paths, tmp_path / "dump", given_names))
    check_dump(tmp_path / "dump")
    return imported


def streams(path: Path) -> Streams:
    """Give what a dump has, by connection."""
    with open_dump(path) as dump:
        found = []
        for connection in dump.connections:
            said = [b"", b""]
            for event in dump.events(connection.id):
                said[event.side] += dump.payload(event)
            found.append((said[0], said[1]))
        return found


def talk(**changes: object) -> Talk:
    played = Talk(**changes)  # type: ignore[arg-type]
    return played.open().say(0, b"question " * 500).say(1, b"answer " * 900).close()


def said(played: Talk) -> tuple[bytes, bytes]:
    return bytes(played.said[0]), bytes(played.said[1])


def test_a_capture_becomes_a_dump_with_the_captures_times(tmp_path: Path) -> None:
    played = talk()
    imported = take(tmp_path, pcap(played.frames))
    assert (imported.packets, imported.segments, imported.incomplete) == (len(played.frames),) * 2 + (0,)
    with open_dump(tmp_path / "dump") as dump:
        (connection,) = dump.connections
        assert (connection.client_process, connection.server_process) == ("h-10-1-2-3", "h-10-1-2-4")
        assert connection.ending is Ending.CLOSED
        times = [event.time_ns for event in dump.events(0) if event.kind is EventKind.CHUNK]
        assert times == [frame.time_ns for frame in played.frames if len(frame.packet) > 40][:]
        assert dump.run.started_ns == START_NS
        assert dump.ended_ns == played.frames[-1].time_ns
    assert streams(tmp_path / "dump") == [said(played)]


LINKS = {
    "ethernet": (ETHERNET, ethernet()),
    "vlan": (ETHERNET, ethernet(0x0800, 0x8100)),
    "qinq": (ETHERNET, ethernet(0x0800, 0x88A8, 0x8100)),
    "pppoe": (ETHERNET, ethernet(0x8864) + bytes(6) + b"\0\x21"),
    "raw": (101, b""),
    "raw of BSD": (12, b""),
    "ipv4": (228, b""),
    "loopback": (0, struct.pack("<I", 2)),
    "loopback of a big-endian machine": (0, struct.pack(">I", 2)),
    "loopback of OpenBSD": (108, struct.pack(">I", 2)),
    "cooked": (113, bytes(14) + b"\x08\0"),
    "cooked, version 2": (276, b"\x08\0" + bytes(18)),
}


@pytest.mark.parametrize("link_type, link", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("form", [pcap, pcapng])
def test_link_types(tmp_path: Path, form: object, link_type: int, link: bytes) -> None:
    played = talk()
    assert callable(form)
    take(tmp_path, form(played.frames, link_type=link_type, link=link))
    assert streams(tmp_path / "dump") == [said(played)]


def test_ipv6_and_what_the_link_pads(tmp_path: Path) -> None:
    played = talk(client=CLIENT6, server=SERVER6)
    frames = [Frame(frame.packet + bytes(7), frame.time_ns) for frame in played.frames]
    take(tmp_path, pcap(frames, link_type=ETHERNET, link=ethernet(0x86DD)))
    assert streams(tmp_path / "dump") == [said(played)]
    with open_dump(tmp_path / "dump") as dump:
        assert [process.name for process in dump.processes] == [
            "h-fd00-0-0-0-0-0-0-3",
            "h-fd00-0-0-0-0-0-0-4",
        ]


@pytest.mark.parametrize("length", [65_516, 65_528])
def test_more_fragments_than_a_packet_may_hold_are_dropped(tmp_path: Path, length: int) -> None:
    """The "ping of death"; an IPv4 header counts 65,535 octets, itself among them (RFC 791, 3.1)."""
    ends = ip_address("10.1.2.3").packed, ip_address("10.1.2.4").packed
    packet = ip.emit_header(*ends, ip.ICMP, 8) + bytes(length)
    pieces = [Frame(piece) for piece in fragments(packet, 1480, 7)]
    imported = take(tmp_path, pcap([*pieces, *talk().frames]))
    assert imported.fragments_dropped == len(pieces)
    assert streams(tmp_path / "dump") == [said(talk())]


def test_a_datagram_that_says_no_length_and_holds_too_much_is_malformed(tmp_path: Path) -> None:
    ends = ip_address("10.1.2.3").packed, ip_address("10.1.2.4").packed
    header = bytearray(ip.emit_header(*ends, ip.UDP, 8))
    header[2:4] = bytes(2)
    packet = bytes(header) + struct.pack(">HHHH", 1, 2, 65_535, 0) + bytes(65_527)
    imported = take(tmp_path, pcap([Frame(packet), *talk().frames]))
    assert imported.malformed == 1


def settled(*later: bytes) -> bytes:
    """A capture of a connection that begins without its SYN, and of what comes when that is waited for no
    longer."""
    ends = ip_address("10.1.2.3").packed, ip_address("10.1.2.4").packed
    others = [udp.emit_packet(ends[0], 1, ends[1], 2, b"%d" % number) for number in range(63)]
    packets = [begun(1000, PSH | ACK, b"x" * 100), *others, *later]
    return pcap([Frame(packet, START_NS + at * 1_000_000) for at, packet in enumerate(packets)])


def begun(sequence: int, flags: int, data: bytes = b"") -> bytes:
    return tcp(("10.1.2.3", 40000), ("10.1.2.4", 80), sequence, 5000 if flags & ACK else 0, flags, data)


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("earlier", [0, 1])
def test_the_packet_that_ends_the_wait_for_a_syn_may_repeat_what_waited(
    tmp_path: Path, vectors: bool, earlier: int
) -> None:
    path = write(tmp_path / "c", settled(begun(1000 - earlier, PSH | ACK, b"x" * (100 + earlier))))
    import_captures(ImportOptions((path,), tmp_path / "dump", vectors=vectors))
    assert streams(tmp_path / "dump") == [(b"x" * 100, b"")]


@pytest.mark.parametrize("vectors", [False, True])
def test_a_syn_that_comes_too_late_does_not_change_how_a_connection_began(
    tmp_path: Path, vectors: bool
) -> None:
    later = [begun(1100, PSH | ACK, b"y"), begun(999, SYN)]
    path = write(tmp_path / "c", settled(*later))
    imported = import_captures(ImportOptions((path,), tmp_path / "dump", vectors=vectors))
    assert (imported.incomplete, imported.segments) == (1, 3)
    assert streams(tmp_path / "dump") == [(b"x" * 100 + b"y", b"")]


def test_an_unknown_link_type_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="link type 147"):
        take(tmp_path, pcap(talk().frames, link_type=147))


def fragments(packet: bytes, size: int, number: int) -> list[bytes]:
    """Cut an IPv4 packet into fragments of so many octets."""
    body, pieces = packet[20:], []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        more = at + size < len(body)
        word = at // 8 | more << 13
        head = packet[:2] + struct.pack(">HHH", 20 + len(piece), number, word) + packet[8:20]
        pieces.append(head + piece)
    return pieces


def fragments6(packet: bytes, size: int, number: int) -> list[bytes]:
    """Cut an IPv6 packet into fragments, behind a hop-by-hop header."""
    body, pieces = packet[40:], []
    for at in range(0, len(body), size):
        piece = body[at : at + size]
        more = at + size < len(body)
        extra = b"\x2c\0\1\4\0\0\0\0" + struct.pack(">BBHI", 6, 0, at | more, number)
        head = packet[:4] + struct.pack(">HB", len(extra) + len(piece), 0) + packet[7:40]
        pieces.append(head + extra + piece)
    return pieces


@pytest.mark.parametrize("six", [False, True])
@given(seed=st.randoms(use_true_random=False))
def test_fragments_in_any_order(tmp_path_factory: pytest.TempPathFactory, six: bool, seed: object) -> None:
    played = talk(client=CLIENT6, server=SERVER6) if six else talk()
    frames = []
    for number, frame in enumerate(played.frames):
        cut = (fragments6 if six else fragments)(frame.packet, 512, number)
        cut = [*cut, cut[0]] if len(cut) > 1 else cut
        seed.shuffle(cut)  # type: ignore[attr-defined]
        frames += [Frame(piece, frame.time_ns) for piece in cut]
    folder = tmp_path_factory.mktemp("fragments")
    imported = take(folder, pcap(frames))
    assert streams(folder / "dump") == [said(played)]
    assert imported.malformed == 0


def test_fragments_that_overlap_with_other_bytes_are_given_up(tmp_path: Path) -> None:
    """RFC 5722, 4, which is for IPv6; there is no better rule for IPv4."""
    played = Talk().open()
    whole = played.send(0, PSH | ACK, b"x" * 600).packet
    first, second = fragments(whole, 320, 9)[:2]
    evil = fragments(whole[:-300] + b"y" * 300, 320, 9)[1]
    played.frames[-1:] = [Frame(first), Frame(first[:-1] + b"y"), Frame(second), Frame(evil)]
    imported = take(tmp_path, pcap(played.frames))
    assert streams(tmp_path / "dump") == [(b"", b"")]
    assert imported.fragments_dropped >= 2


def test_ip_options_and_segmentation_offload(tmp_path: Path) -> None:
    played = Talk().open()
    packet = played.send(0, PSH | ACK, b"offloaded").packet
    played.frames[-1] = Frame(packet[:2] + b"\0\0" + packet[4:])
    packet = played.send(0, PSH | ACK, b", with options").packet
    length = struct.pack(">H", len(packet) + 8)
    played.frames[-1] = Frame(b"\x47" + packet[1:2] + length + packet[4:20] + b"\1" * 8 + packet[20:])
    take(tmp_path, pcap(played.frames))
    assert streams(tmp_path / "dump") == [(b"offloaded, with options", b"")]


def test_what_is_incomplete_is_marked_by_facts(tmp_path: Path) -> None:
    late = talk(port=1).frames[3:]
    gap = talk(port=2).frames
    del gap[5]
    odd = Talk(port=3).open()
    odd.send(0, PSH | ACK, b"innocent")
    odd.send(0, PSH | ACK, b"guilty!!", shift=-8, counts=False)
    imported = take(tmp_path, pcap(in_time([*late, *gap, *odd.frames, *talk(port=4).frames])))
    assert (imported.incomplete, imported.missing, imported.differing) == (2, 1448, 8)
    with open_dump(tmp_path / "dump") as dump:
        facts = [
            (fact.kind, dump.connections[fact.connection].client.port)
            for fact in dump.facts()
            if fact.connection is not None
        ]
        assert sorted(facts) == [
            (BYTES_DIFFER, 3),
            (BYTES_MISSING, 2),
            *((PUT_RIGHT, port) for port in (1, 2, 3)),
            (START_MISSING, 1),
        ]
        (missing,) = (fact for fact in dump.facts() if fact.kind == BYTES_MISSING)
        assert dict(missing.fields) == {"side": "client", "bytes": 1448}
        counts = {
            dump.connections[fact.connection].client.port: dict(fact.fields)
            for fact in dump.facts()
            if fact.connection is not None and fact.kind == PUT_RIGHT
        }
        assert (counts[2]["missing"], counts[2]["overlapping"]) == ([1448, 0], [0, 0])
        assert counts[3] == {
            "segments": [4, 1],
            "queued": [0, 0],
            "overlapping": [8, 0],
            "differing": [8, 0],
            "missing": [0, 0],
            "strays": [0, 0],
        }


def test_names(tmp_path: Path) -> None:
    names = {"10.1.2.4": "db", "fd00::4": "db"}
    frames = [*talk().frames, *talk(client=CLIENT6, server=SERVER6).frames]
    take(tmp_path, pcap(frames), names=names)
    with open_dump(tmp_path / "dump") as dump:
        assert [(each.name, each.position) for each in dump.processes] == [
            ("db", 1),
            ("h-10-1-2-3", 2),
            ("h-fd00-0-0-0-0-0-0-3", 3),
        ]
        assert [each.server_process for each in dump.connections] == ["db", "db"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("db", "not an IP address"),
        ("10.0.0.1", "is not a name"),
        ("10.0.0.1=9lives", "is not a name"),
        ("10.0.0.1=h-10-0-0-2", "another address"),
    ],
)
def test_names_that_cannot_be(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_names([word])


def test_several_captures_are_merged_by_time(tmp_path: Path) -> None:
    played = talk()
    frames = played.frames
    imported = take(tmp_path, pcap(frames[1::2]), pcapng(frames[::2]))
    assert streams(tmp_path / "dump") == [said(played)]
    assert (imported.packets, imported.incomplete) == (len(frames), 0)


def test_captures_that_follow_one_another_in_any_order_of_words(tmp_path: Path) -> None:
    played = talk()
    parts = [played.frames[at : at + 7] for at in range(0, len(played.frames), 7)]
    take(tmp_path, *(pcap(part) for part in reversed(parts)))
    assert streams(tmp_path / "dump") == [said(played)]


def test_the_same_packets_captured_twice_count_once(tmp_path: Path) -> None:
    played = talk()
    take(tmp_path, pcap(played.frames), pcap(played.frames))
    assert streams(tmp_path / "dump") == [said(played)]


def test_datagrams_come_along(tmp_path: Path) -> None:
    ends = ip_address("10.1.2.3").packed, ip_address("10.1.2.9").packed
    question = udp.emit_packet(ends[0], 999, ends[1], 53, b"who is it?")
    echo = ip.emit_header(*ends, ip.ICMP, 8) + b"\x08\0\xf7\xff\0\0\0\0"
    big = fragments(udp.emit_packet(ends[1], 53, ends[0], 999, b"a long answer " * 99), 512, 3)
    packets = [question[:26] + b"\0\0" + question[28:], echo, *big]
    imported = take(tmp_path, pcap(in_time([Frame(packet) for packet in packets])))
    assert (imported.written.datagrams, imported.malformed) == (3, 0)
    with open_dump(tmp_path / "dump") as dump:
        told = list(dump.datagrams())
        assert [dump.payload(each) for each in told] == [b"who is it?", echo[20:], b"a long answer " * 99]
        assert [(each.sender, each.receiver) for each in told][:1] == [("h-10-1-2-3", "h-10-1-2-9")]
        assert dump.read(told[0].packet_offset, told[0].packet_length) == question


def test_an_icmp_error_answers_a_syn(tmp_path: Path) -> None:
    syn = tcp(("10.1.2.3", 5), ("10.1.2.9", 80), 77, 0, SYN)
    error = icmp.emit_unreachable(syn)
    imported = take(tmp_path, pcap([Frame(syn), Frame(error), Frame(icmp.emit_unreachable(error))]))
    with open_dump(tmp_path / "dump") as dump:
        assert [each.ending for each in dump.connections] == [Ending.UNREACHABLE]
    assert imported.written.datagrams == 1


def test_a_capture_without_packets_is_an_empty_dump(tmp_path: Path) -> None:
    imported = take(tmp_path, pcap([]))
    assert (imported.packets, imported.written.connections) == (0, 0)


def test_a_capture_that_is_damaged_is_told_where(tmp_path: Path) -> None:
    whole = pcap(talk().frames)
    with pytest.raises(CaptureError, match=f"a record of 2147483648 octets, at byte {len(whole)}"):
        take(tmp_path, whole + struct.pack("<IIII", 0, 0, 1 << 31, 0))


def test_what_is_no_capture_leaves_the_dump_alone(tmp_path: Path) -> None:
    write(tmp_path / "dump", b"precious")
    with pytest.raises(CaptureError):
        take(tmp_path, b"nonsense")
    assert (tmp_path / "dump").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "form", [simples, lambda frames: pcap([replace(each, time_ns=0) for each in frames])]
)
@pytest.mark.parametrize("count", [1, 40])
def test_a_capture_without_times(tmp_path: Path, form: Callable[[list[Frame]], bytes], count: int) -> None:
    talks = [talk(port=40000 + number) for number in range(count)]
    take(tmp_path, form([frame for each in talks for frame in each.frames]))
    assert streams(tmp_path / "dump") == [said(each) for each in talks]
    with open_dump(tmp_path / "dump") as dump:
        assert {each.ending for each in dump.connections} == {Ending.CLOSED}
