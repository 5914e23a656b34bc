"""What a dump holds, as a program reads it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from dump.making import RUN, create, every_ending, opened, say, writing

import netplayground
from netplayground import errors
from netplayground.dump.model import CLIENT, SERVER, EventKind
from netplayground.packet import udp

ORIGINAL = b"1000 4 10.0.0.2 10.0.0.1 80 0\nping1001 4 10.0.0.2 10.0.0.1 80 1\npong"


def test_conversations_have_what_each_side_said(tmp_path: Path) -> None:
    path = tmp_path / "x.traffic"
    with writing(path) as writer:
        every_ending(writer, 4)
        every_ending(writer, 6)
    with netplayground.open_dump(path) as dump:
        assert dump.is_complete and dump.processes == RUN.processes
        assert len(dump.connections) == 18 and dump.totals.connections == 18
        found = list(dump.conversations(client="app", server="db", port=80))
        assert [(each.client, each.server, each.port) for each in found[:1]] == [("app", "db", 80)]
        assert (found[0].sent, found[0].received) == (b"question", b"answer after the half-close")
        assert len(found) == 10  # the others never came about
        assert dump.said(0, "client") == b"question" == dump.said(dump.connections[0], "client")
        assert not list(dump.conversations(server="app")) and not list(dump.conversations(port=81))


def test_chunks_and_events_come_in_order_of_one_connection_or_of_all(tmp_path: Path) -> None:
    path = tmp_path / "x.traffic"
    with writing(path) as writer:
        one, two = opened(writer, port=1), opened(writer, port=2)
        for connection, side, data in ((one, CLIENT, b"a"), (two, CLIENT, b"b"), (one, SERVER, b"c")):
            say(connection, side, data)
    with netplayground.open_dump(path) as dump:
        assert [(each.connection, each.side, each.data) for each in dump.chunks()] == [
            (0, "client", b"a"),
            (1, "client", b"b"),
            (0, "server", b"c"),
        ]
        assert [each.data for each in dump.chunks(1)] == [b"b"]
        kinds = [event.kind for _, event in dump.events(dump.connections[1])]
        assert kinds == [EventKind.SYN, EventKind.ESTABLISHED, EventKind.CHUNK]
        for wrong in (-1, 2):
            with pytest.raises(errors.UsageError, match="the dump has 2 connections"):
                dump.chunks(wrong)
        with pytest.raises(errors.UsageError, match="there is client and server"):
            dump.said(0, "both")  # type: ignore[arg-type]


def test_a_dump_that_is_being_written_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.traffic"
    writer = create(path)
    say(opened(writer), CLIENT, b"so far")
    writer.flush()
    with netplayground.open_dump(str(path)) as dump:
        assert not dump.is_complete and "its index" in dump.missing and dump.ended_ns is None
        assert [each.sent for each in dump.conversations()] == [b"so far"]
    writer.close()


def test_dumps_of_the_original_and_captures_are_opened_too(tmp_path: Path) -> None:
    original = tmp_path / "http.traffic"
    original.write_bytes(ORIGINAL)
    with netplayground.open_dump(original) as dump:
        assert [(each.sent, each.received) for each in dump.conversations()] == [(b"ping", b"pong")]
    packet = udp.emit_packet(bytes([10, 1, 2, 3]), 40000, bytes([10, 1, 2, 4]), 53, b"who?")
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    capture = tmp_path / "x.pcap"
    capture.write_bytes(head + struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet)
    with netplayground.open_dump(capture, names=["10.1.2.4=dns"]) as dump:
        (datagram,) = dump.datagrams()
        assert (datagram.data, datagram.place.receiver) == (b"who?", "dns")


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.DumpError, match="No such file"):
        netplayground.open_dump(tmp_path / "nothing")
    (tmp_path / "text").write_text("some text")
    with pytest.raises(errors.NotADumpError, match="nor is it a capture"):
        netplayground.open_dump(tmp_path / "text")
