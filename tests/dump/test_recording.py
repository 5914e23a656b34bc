"""A file is opened by the reader for which it is, and both are used alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dump.making import FAMILIES, every_ending, writing

from netplayground.dump.model import EventKind, State
from netplayground.dump.reader import Dump
from netplayground.dump.recording import Recording, open_recording
from netplayground.dump.tunreplay import TunReplayDump
from netplayground.errors import DamagedDumpError, DumpError, NotADumpError

SAMPLE = Path(__file__).with_name("http.tun-replay")


def bytes_said(recording: Recording) -> dict[int, bytes]:
    said: dict[int, bytes] = {}
    for identity, event in recording.all_events():
        if event.kind is EventKind.CHUNK:
            assert recording.read(event.offset, event.length) == recording.payload(event)
            said[identity] = said.get(identity, b"") + recording.payload(event)
    return said


def test_a_dump_is_opened_as_one(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for family in FAMILIES:
            every_ending(writer, family)
    with open_recording(tmp_path / "d") as recording:
        assert isinstance(recording, Dump)
        assert bytes_said(recording)[0] == b"questionanswer after the half-close"


def test_one_of_the_original_program_is_opened_as_one() -> None:
    with open_recording(SAMPLE) as recording:
        assert isinstance(recording, TunReplayDump)
        assert bytes_said(recording)[0].startswith(b"GET /index.html HTTP/1.1\r\n")
        assert recording.state is State.COMPLETE


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "the file is empty"),
        (b"GET / HTTP/1.1\n", "not a dump"),
        (b"1795226058910912 87 10.", "not a dump"),
    ],
)
def test_what_is_neither_is_said_in_one_line(tmp_path: Path, data: bytes, cause: str) -> None:
    (tmp_path / "d").write_bytes(data)
    with pytest.raises(NotADumpError) as caught:
        open_recording(tmp_path / "d")
    assert str(caught.value) == f"cannot read {tmp_path / 'd'}: {cause}"


def test_a_failed_opening_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(SAMPLE.read_bytes()[:420] + b"junk\n")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(DamagedDumpError):
        open_recording(tmp_path / "d")
    with pytest.raises(DumpError, match=r"cannot open .*: No such file"):
        open_recording(tmp_path / "none")
    assert os.listdir("/proc/self/fd") == before
