"""Recordings as captures: packets that hold what they say, and the same conversations when imported again."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest
from capture.test_records import read
from dump.making import FAMILIES, connect, every_ending, opened, say, writing
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture.exporting import export_capture, export_streams, json_lines
from netplayground.capture.importing import ImportOptions, import_captures
from netplayground.dump.model import CLIENT, SERVER, Ending
from netplayground.dump.recording import open_recording
from netplayground.dump.writer import DumpWriter
from netplayground.errors import PlaygroundError
from netplayground.packet import ip, tcp, udp
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum

Told = list[tuple[object, ...]]
Write = Callable[[DumpWriter], None]


def conversations(path: Path) -> Told:
    """Give who spoke with whom, what was said, and how it ended."""
    with open_recording(path) as recording:
        found = []
        for each in recording.connections:
            said = [b"", b""]
            for event in recording.events(each.id):
                said[event.side] += recording.payload(event)
            found.append((each.client, each.server, *said, each.ending))
        return found


def export(source: Path, target: Path, wanted: set[int] | None = None, mtu: int = 1500) -> int:
    with open_recording(source) as recording:
        return export_capture(recording, target, wanted, mtu)


def check_round_trip(folder: Path, write: Write, suffix: str, mtu: int = 1500) -> list[bytes]:
    """Record, export, import: the same; give the packets."""
    with writing(folder / "dump") as writer:
        write(writer)
    capture = folder / f"out{suffix}"
    count = export(folder / "dump", capture, mtu=mtu)
    import_captures(ImportOptions((capture,), folder / "again"))
    assert conversations(folder / "again") == conversations(folder / "dump")
    packets = [packet for _, _, packet in read(capture)]
    assert len(packets) == count
    for packet in packets:
        assert_sound(packet, mtu)
    return packets


def assert_sound(packet: bytes, mtu: int) -> None:
    """Assert that a packet is no longer than it may be, and its checksums are right."""
    assert len(packet) <= mtu
    parsed = ip.parse_packet(packet)
    if parsed.version == 4:
        assert internet_checksum(packet[:20]) == 0
    if parsed.protocol in (ip.TCP, ip.UDP):
        start = pseudo_header_sum(parsed.source, parsed.destination, parsed.protocol, len(parsed.payload))
        assert internet_checksum(parsed.payload, start) == 0


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_ending_survives_export_and_import(tmp_path: Path, suffix: str, family: int) -> None:
    check_round_trip(tmp_path, lambda writer: every_ending(writer, family), suffix)
    endings = {told[-1] for told in conversations(tmp_path / "again")}
    assert endings == set(Ending)


ACTIONS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["say", "say", "say", "fin", "rst"]), st.integers(0, 1)),
    max_size=40,
)


@given(ACTIONS, st.sampled_from(FAMILIES), st.sampled_from([576, 1500, 9000]))
def test_any_conversations_survive_export_and_import(
    tmp_path_factory: pytest.TempPathFactory,
    actions: list[tuple[int, str, int]],
    family: int,
    mtu: int,
) -> None:
    def write(writer: DumpWriter) -> None:
        talks = [opened(writer, family, 40000 + at) for at in range(4)]
        for number, (which, action, side) in enumerate(actions):
            talk = talks[which]
            if talk.ending is not None:
                talks[which] = talk = opened(writer, family, 40000 + which)
            if action == "fin":
                talk.fin(side)
                closed[talk.id, side] = True
            elif action == "rst":
                talk.rst(side)
            elif (talk.id, side) not in closed:
                say(talk, side, struct.pack(">I", number) * (1 + number * 97 % 5000))

    closed: dict[tuple[int, int], bool] = {}
    check_round_trip(tmp_path_factory.mktemp("trip"), write, ".pcap", mtu)


def test_a_large_chunk_is_cut_to_the_mss_and_acknowledged(tmp_path: Path) -> None:
    packets = check_round_trip(
        tmp_path, lambda writer: say(opened(writer), CLIENT, bytes(range(250)) * 240), ".pcapng"
    )
    segments = [tcp.parse_segment(ip.parse_packet(packet).payload) for packet in packets]
    lengths = [len(segment.payload) for segment in segments]
    assert lengths == [0, 0, 0, *[1460] * 41, 60_000 - 41 * 1460, 0]
    assert [bool(segment.flags & tcp.PSH) for segment in segments[3:-1]] == [*[False] * 41, True]
    assert segments[-1].acknowledgement == segments[-2].sequence + len(segments[-2].payload)


def test_datagrams_are_exported_as_they_are(tmp_path: Path) -> None:
    packet = udp.emit_packet(bytes([10, 0, 0, 1]), 7, bytes([10, 0, 0, 2]), 9, b"hello")

    def write(writer: DumpWriter) -> None:
        opened(writer).fin(CLIENT)
        datagrams = writer.datagrams()
        datagrams.put(packet)
        datagrams.commit()

    assert packet in check_round_trip(tmp_path, write, ".pcapng")


def test_one_connection_of_many(tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        for at in range(4):
            say(opened(writer, 4, 40000 + at), at % 2, b"number %d" % at)
    for wanted in ({2}, {1, 3}):
        export(tmp_path / "dump", tmp_path / "out.pcap", wanted)
        import_captures(ImportOptions((tmp_path / "out.pcap",), tmp_path / "again"))
        all_ = conversations(tmp_path / "dump")
        assert conversations(tmp_path / "again") == [all_[at] for at in sorted(wanted)]


def test_a_file_for_each_direction_in_which_something_was_said(tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        for word in (b"first", b"second"):
            talk = opened(writer)
            say(talk, CLIENT, word)
            say(talk, SERVER, word.upper())
            talk.rst(CLIENT)
        say(opened(writer, 6), SERVER, b"six")
        connect(writer, 4, 9).syn()
    with open_recording(tmp_path / "dump") as recording:
        assert export_streams(recording, tmp_path / "out", None) == 5
    six = "fd00:706c:0067:0000:0000:0000:0000:000"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        "010.000.000.002.40000-010.000.000.001.00080": b"first",
        "010.000.000.001.00080-010.000.000.002.40000": b"FIRST",
        "010.000.000.002.40000-010.000.000.001.00080c1": b"second",
        "010.000.000.001.00080-010.000.000.002.40000c1": b"SECOND",
        f"{six}1.00080-{six}2.40000": b"six",
    }


def test_a_line_of_json_for_each_chunk(tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        one, other = opened(writer, 4, 1), opened(writer, 4, 2)
        say(one, CLIENT, b"\0\xff")
        say(other, SERVER, b"hello")
    with open_recording(tmp_path / "dump") as recording:
        lines = [json.loads(line) for line in json_lines(recording, None)]
        assert [json.loads(line)["connection"] for line in json_lines(recording, {1})] == [1]
    said = [(each["connection"], each["side"], each["length"], b64decode(each["data"])) for each in lines]
    assert said == [(0, "client", 2, b"\0\xff"), (1, "server", 5, b"hello")]


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with writing(tmp_path / "dump") as writer:
        opened(writer)
    with pytest.raises(PlaygroundError, match=r"cannot write .*No such file or directory"):
        export(tmp_path / "dump", tmp_path / "none" / "out.pcap")


@pytest.mark.parametrize("wanted", [None, {0}, {0, 1}])
def test_how_far_it_is_is_told(tmp_path: Path, wanted: set[int] | None) -> None:
    with writing(tmp_path / "dump") as writer:
        for talk in (opened(writer, 4, 1), opened(writer, 4, 2)):
            for number in range(9):
                say(talk, number % 2, b"word" * 100)
    told: list[tuple[int, int]] = []

    def progress(done: int, size: int) -> None:
        told.append((done, size))

    with open_recording(tmp_path / "dump") as recording:
        for export_it in (
            lambda: export_capture(recording, tmp_path / "out.pcap", wanted, 1500, progress),
            lambda: export_streams(recording, tmp_path / "out", wanted, progress),
            lambda: list(json_lines(recording, wanted, progress)),
        ):
            told.clear()
            export_it()
            assert len(told) >= 9 and told == sorted(told)
            assert len({size for _, size in told}) == 1 and 0.5 < told[-1][0] / told[-1][1] <= 1
