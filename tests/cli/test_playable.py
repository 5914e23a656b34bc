"""What a replay can open: dumps, and captures, which become dumps that leave nothing behind."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from dump.making import writing

from netplayground.cli.playable import open_playable
from netplayground.dump.recording import open_recording
from netplayground.errors import NotADumpError
from netplayground.packet import udp

HERE, THERE = bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4])
_RAW = 101  # LINKTYPE_RAW


def write_pcap(path: Path, *packets: bytes) -> Path:
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _RAW)
    records = [struct.pack("<IIII", 1, 0, len(packet), len(packet)) + packet for packet in packets]
    path.write_bytes(header + b"".join(records))
    return path


def test_a_capture_is_imported_and_nothing_of_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    capture = write_pcap(tmp_path / "x.pcap", udp.emit_packet(HERE, 40000, THERE, 53, b"who?"))
    before = len(os.listdir("/proc/self/fd"))
    with open_playable(capture, ["10.1.2.4=dns"]) as recording:
        assert {process.name for process in recording.processes} == {"h-10-1-2-3", "dns"}
        assert [datagram.destination_port for datagram in recording.datagrams()] == [53]
    assert list(folder.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert capsys.readouterr().err == f"plg: {capture} is a capture of 1 packet\n"


def test_what_is_neither_is_said_to_be_neither(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("a letter\n")
    with pytest.raises(NotADumpError, match=r"not a dump, nor is it a capture$"), open_playable(path, []):
        pass


def test_of_a_damaged_capture_it_is_said_what_is_wrong(tmp_path: Path) -> None:
    capture = write_pcap(tmp_path / "x.pcap", bytes(20))
    capture.write_bytes(capture.read_bytes()[:24] + b"\xff" * 100)
    with pytest.raises(NotADumpError, match=r"a record of 4294967295 octets, at byte 24$"):
        open_playable(capture, []).__enter__()


def test_the_head_of_a_dump_is_no_empty_capture(tmp_path: Path) -> None:
    path = tmp_path / "d"
    with writing(path):
        pass
    path.write_bytes(path.read_bytes()[:100])
    cut = r"cut off at byte 100, nothing whole is left$"
    with pytest.raises(NotADumpError, match=cut), open_playable(path, []):
        pass


@pytest.mark.parametrize("name", ["missing", "empty", "folder"])
def test_what_cannot_be_a_capture_is_not_tried(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(Exception, match="cannot") as refusal:
        open_recording(tmp_path / name)
    with pytest.raises(type(refusal.value), match=str(refusal.value)), open_playable(tmp_path / name, []):
        pass
