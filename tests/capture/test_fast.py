"""The short way for whole batches tells what the way packet by packet tells."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import replace
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
    tcp,
    write,
)
from capture.test_importing import fragments, fragments6
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netplayground.capture import fast, records
from netplayground.capture.hosts import Hosts
from netplayground.capture.importing import Imported, Importer, ImportOptions, import_captures
from netplayground.capture.telling import Clock
from netplayground.dump.check import check_dump
from netplayground.dump.model import RunHeader
from netplayground.dump.reader import open_dump
from netplayground.dump.writer import DumpWriter
from netplayground.packet import udp
from netplayground.packet.tcp import ACK, PSH, RST

pytest.importorskip("numpy")

Strange = Callable[[bytes], list[bytes]]


def both_ways(folder: Path, data: bytes) -> tuple[Imported, Imported]:
    """Import a capture both ways; the dumps must tell the same of each connection."""
    path = write(folder / "capture", data)
    imported = [
        import_captures(ImportOptions((path,), folder / name, vectors=vectors))
        for name, vectors in (("short", True), ("long", False))
    ]
    for name in ("short", "long"):
        check_dump(folder / name)
    short, long = (told(folder / name) for name in ("short", "long"))
    for mine, theirs in zip(short, long, strict=True):
        assert mine == theirs
    return imported[0], imported[1]


def told(path: Path) -> list[object]:
    """Give all that a dump tells, connection by connection; events without their places in the file."""
    with open_dump(path) as dump:
        connections = []
        for each in dump.connections:
            events = [
                (event.kind, event.side, event.time_ns, dump.payload(event)) for event in dump.events(each.id)
            ]
            facts = [
                (fact.kind, fact.time_ns, fact.fields) for fact in dump.facts() if fact.connection == each.id
            ]
            ends = (
                each.client,
                each.server,
                each.ending,
                each.opened_ns,
                each.established_ns,
                each.closed_ns,
            )
            connections.append((ends, each.bytes, each.chunks, events, facts))
        datagrams = [(each.time_ns, dump.payload(each)) for each in dump.datagrams()]
        return [dump.processes, *connections, datagrams]


def crowd(seed: int, count: int = 12) -> list[Frame]:
    """Give conversations of every ending, mixed: each keeps its own order."""
    chance = random.Random(seed)
    talks = []
    for at in range(count):
        initial = chance.randrange(1 << 32), chance.choice([1 << 31, (1 << 32) - 50])
        played = Talk(port=40000 + at, initial=initial)
        if at % 3 == 2:
            played.client, played.server = CLIENT6, SERVER6
        played.open()
        for _ in range(chance.randrange(1, 9)):
            size = chance.choice([1, 3, 30, 100, 1448])
            played.say(chance.randrange(2), chance.randbytes(chance.randrange(1, 400)), size)
        (played.close, lambda played=played: played.abort(1), lambda: None)[at % 3]()
        talks.append(list(played.frames))
    mixed = []
    while talks:
        mine = chance.choice(talks)
        mixed.append(mine.pop(0))
        talks = [each for each in talks if each]
    return [replace(frame, time_ns=START_NS + 50_000 * at) for at, frame in enumerate(mixed)]


def perturbed(frames: list[Frame], seed: int) -> list[Frame]:
    """Shuffle a little, duplicate, drop and forge."""
    chance = random.Random(seed)
    odd = []
    for at, frame in enumerate(frames):
        fate = chance.random()
        if fate < 0.01:
            continue
        odd.append((at + chance.random() * (6 if fate < 0.1 else 0.1), frame))
        if fate > 0.97:
            odd.append((at + chance.random() * 9, frame))
        if fate > 0.99:
            forged = frame.packet[:-2] + b"??"
            odd.append((at + chance.random() * 9, replace(frame, packet=forged)))
    return [
        replace(frame, time_ns=START_NS + 50_000 * at) for at, (_, frame) in enumerate(sorted(odd, key=_at))
    ]


def _at(pair: tuple[float, Frame]) -> float:
    return pair[0]


@pytest.mark.parametrize("size", [1 << 13, 1 << 16, 1 << 23])
def test_a_crowd_in_order_with_batches_of_any_size(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records.Records.__init__, "__defaults__", (size,))
    short, long = both_ways(tmp_path, pcap(crowd(1)))
    assert short.written == long.written
    assert (short.packets, short.segments) == (long.packets, long.segments)


@settings(max_examples=12)
@example(389, 1 << 12, pcap)
@given(st.integers(0, 1 << 32), st.sampled_from([1 << 12, 1 << 15, 1 << 23]), st.sampled_from([pcap, pcapng]))
def test_a_crowd_that_was_perturbed(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int, form: object
) -> None:
    frames = perturbed(crowd(seed), seed)
    assert callable(form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.Records.__init__, "__defaults__", (size,))
        short, long = both_ways(tmp_path_factory.mktemp("crowd"), form(frames))
    assert (short.missing, short.differing, short.incomplete) == (
        long.missing,
        long.differing,
        long.incomplete,
    )


def with_other_ack(packet: bytes, change: int) -> bytes:
    at = 28 if packet[0] >> 4 == 4 else 48
    number = int.from_bytes(packet[at : at + 4], "big") + change & 0xFFFFFFFF
    return packet[:at] + number.to_bytes(4, "big") + packet[at + 4 :]


@settings(max_examples=12)
@given(st.integers(0, 1 << 32), st.sampled_from([1 << 12, 1 << 15, 1 << 23]))
def test_a_crowd_of_which_some_acknowledge_less_than_before_or_what_nobody_said(
    tmp_path_factory: pytest.TempPathFactory, seed: int, size: int
) -> None:
    chance = random.Random(seed)
    frames = []
    for frame in crowd(seed):
        change = chance.choice([-1, -100, 1, 1000, 1 << 20, chance.randrange(1 << 32)])
        if chance.random() < 0.05:
            frame = replace(frame, packet=with_other_ack(frame.packet, change))
        if chance.random() > 0.03:
            frames.append(frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records.Records.__init__, "__defaults__", (size,))
        short, long = both_ways(tmp_path_factory.mktemp("crowd"), pcap(frames))
    assert (short.missing, short.incomplete) == (long.missing, long.incomplete)


@pytest.mark.parametrize("tags", [(), (0x8100,), (0x88A8, 0x8100), (0x88A8, 0x8100, 0x8100)])
def test_tagged_frames_and_what_is_not_usual_between_them(tmp_path: Path, tags: tuple[int, ...]) -> None:
    frames = []
    ends = b"\x0a\0\0\1", b"\x0a\0\0\2"
    for at, frame in enumerate(each for each in crowd(4) if len(each.packet) and each.packet[0] == 0x45):
        frames.append(frame)
        if at % 7 == 0:
            datagram = udp.emit_packet(ends[0], 1, ends[1], 2, b"datagram %d" % at)
            frames.append(replace(frame, packet=datagram))
        if at % 11 == 0:
            frames.append(replace(frame, packet=b"\x47" + frame.packet[1:2] + b"\0\x30" + bytes(44)))
    data = pcap(frames, link_type=ETHERNET, link=ethernet(0x0800, *tags))
    short, long = both_ways(tmp_path, data)
    assert (short.written, short.malformed, short.no_ip) == (long.written, long.malformed, long.no_ip)


def with_options(packet: bytes) -> list[bytes]:
    """Behind IPv4 options that do nothing."""
    length = struct.pack(">H", len(packet) + 8)
    return [b"\x47" + packet[1:2] + length + packet[4:20] + bytes([1] * 8) + packet[20:]]


def cut_off(packet: bytes) -> list[bytes]:
    return [packet[:-2]]


def in_fragments(packet: bytes) -> list[bytes]:
    return (fragments if packet[0] >> 4 == 4 else fragments6)(packet, 24, 77)


@pytest.mark.parametrize("batch", [1, 1000], ids=["packet by packet", "in one batch"])
@pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("is_closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("strange", [with_options, cut_off, in_fragments])
def test_a_packet_that_is_not_usual_belongs_to_its_connection_though_that_is_ordinary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strange: Strange, is_closed: bool, six: bool, batch: int
) -> None:
    """It is the last of it: nothing usual comes after it that would not follow upon what is usual."""
    monkeypatch.setattr(records, "PACKETS_MOST", batch)
    monkeypatch.setattr(fast, "LEAST", 1)
    if six and strange is with_options:
        strange = in_fragments
    played = Talk(client=CLIENT6, server=SERVER6) if six else Talk()
    played.open().say(0, b"ordinary " * 50, 100)
    if is_closed:
        played.close()
    last = played.send(0, PSH | ACK, b"not usual at all", shift=-17 if is_closed else 0)
    played.frames[-1:] = [replace(last, packet=packet) for packet in strange(last.packet)]
    short, long = both_ways(tmp_path, pcap(played.frames))
    assert short.written == long.written
    assert short.written.connections == 1
    # A closed connection has nothing more to say.
    assert short.missing == long.missing == (2 if strange is cut_off and not is_closed else 0)


def test_a_packet_that_is_not_usual_stays_in_its_place_between_those_that_are(tmp_path: Path) -> None:
    """It overtakes one that follows upon the one before it: those two are no run."""
    played = Talk().open().say(0, b"question").say(1, b"answer")
    first, second, third = (played.send(0, PSH | ACK, data) for data in (b"first ", b"second ", b"third"))
    played.frames[-3:] = [first, replace(third, packet=with_options(third.packet)[0]), second]
    both_ways(tmp_path, pcap(in_time(played.frames + Talk(port=9).open().say(0, b"x" * 3000, 100).frames)))


@settings(max_examples=12)
@example(433, 1000)
@given(st.integers(0, 1 << 32), st.sampled_from([64, 1000, 1 << 15]))
def test_a_crowd_of_which_some_packets_are_not_usual(
    tmp_path_factory: pytest.TempPathFactory, seed: int, batch: int
) -> None:
    chance, frames = random.Random(seed), []
    for frame in perturbed(crowd(seed), seed) if seed % 2 else crowd(seed):
        ways = [in_fragments] if frame.packet[0] >> 4 == 6 else [in_fragments, with_options, cut_off]
        some = chance.choice(ways)(frame.packet) if chance.random() < 0.1 else [frame.packet]
        chance.shuffle(some)
        frames += [replace(frame, packet=packet) for packet in some]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PACKETS_MOST", batch)
        short, long = both_ways(tmp_path_factory.mktemp("crowd"), pcap(in_time(frames)))
    assert short.written == long.written and short.missing == long.missing


def test_a_long_stream_is_acknowledged_in_the_dump(tmp_path: Path) -> None:
    """Else tools take the silent side for one that was not captured."""
    played = Talk(step_ns=1000).open()
    piece = random.Random(1).randbytes(60_000)
    for _ in range(700):
        played.send(0, PSH | ACK, piece)
    both_ways(tmp_path, pcap(played.close().frames))
    longest = outstanding = 0
    with open_dump(tmp_path / "short") as dump:
        source = dump.source
        at = dump.start
        while at < dump.end:
            kind, length = (int.from_bytes(source.read(at + place, 4), "big") for place in (0, 4))
            if kind == 6:
                packet = source.read(at + 28, 40)
                is_clients = packet[12:16] == bytes([10, 1, 2, 3])
                outstanding = outstanding + int.from_bytes(packet[2:4], "big") - 40 if is_clients else 0
            longest = max(longest, outstanding)
            at += length
    assert 0 < longest <= (16 << 20) + 70_000


def test_bytes_that_come_again_as_others_in_a_later_batch_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records.Records.__init__, "__defaults__", (1 << 14,))
    played = Talk().open().say(0, b"innocent " * 40, 90)
    for _ in range(14):
        played.say(1, bytes(1400))
    forged = tcp((played.client, played.port), (played.server, 80), 1001 + 100, 0, PSH | ACK, b"GUILTY")
    played.frames.append(Frame(forged, played.time_ns))
    for _ in range(14):
        played.say(1, bytes(1400))
    short, long = both_ways(tmp_path, pcap(played.frames))
    assert short.differing == long.differing == 6


def test_order_between_connections_is_that_of_the_capture(tmp_path: Path) -> None:
    both_ways(tmp_path, pcap(crowd(9)))
    orders = []
    for name in ("short", "long"):
        with open_dump(tmp_path / name) as dump:
            orders.append([(identity, event.kind, event.time_ns) for identity, event in dump.all_events()])
    assert orders[0] == orders[1]


def test_every_reset_of_many_connections_is_told_once(tmp_path: Path) -> None:
    frames = []
    for at in range(200):
        played = Talk(port=1000 + at, time_ns=START_NS + at * 1_000_000).open().say(0, b"x" * 30)
        played.send(at % 2, RST | ACK)
        frames += played.frames
    both_ways(tmp_path, pcap(frames))


def test_a_connection_is_not_silent_while_a_run_of_it_lasts(tmp_path: Path) -> None:
    """Its packets after a leap of the clock are of the same batch, and were taken with those before it."""
    played = Talk().open()
    played.send(0, RST, shift=-500, counts=False)
    played.say(0, b"x" * 4000, 100)
    played.time_ns += 10_000 * 1_000_000_000
    other = Talk(port=7, time_ns=played.time_ns).open()
    played.say(0, b"y" * 4000, 100).close()
    frames = sorted([*played.frames, *other.frames], key=lambda frame: frame.time_ns)
    import_captures(ImportOptions((write(tmp_path / "c", pcap(frames)),), tmp_path / "dump"))
    check_dump(tmp_path / "dump")
    with open_dump(tmp_path / "dump") as dump:
        assert sum(each.bytes[0] for each in dump.connections) == 8000


def test_a_batch_is_written_when_it_was_fed_unless_that_is_left_to_a_thread(tmp_path: Path) -> None:
    """A live capture gives its memory back to the kernel then."""
    path, clock = write(tmp_path / "c", pcap(crowd(3))), Clock()
    clock.now = START_NS
    writer = DumpWriter.create(tmp_path / "dump", RunHeader(subnets=(), processes=()), START_NS, clock)
    importer = Importer(ImportOptions((path,), tmp_path / "dump"), writer, Hosts({}), clock)
    source = records.Records(path)
    for batch in source.batches():
        importer.feed(batch)
        batch.buffer[:] = bytes(len(batch.buffer))
    source.close()
    importer.finish()
    writer.close()
    import_captures(ImportOptions((path,), tmp_path / "other"))
    assert told(tmp_path / "dump")[1:] == told(tmp_path / "other")[1:]
