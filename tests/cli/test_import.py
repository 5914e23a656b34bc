"""`plg import`: a capture in, a dump out, and what stderr says of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from capture.frames import Talk, pcap, pcapng, write
from dump.test_tunreplay import SAMPLE

from netplayground.cli.main import main
from netplayground.dump.reader import open_dump

Capsys = pytest.CaptureFixture[str]


def talk(port: int = 40000) -> Talk:
    return Talk(port=port).open().say(0, b"question").say(1, b"the answer").close()


def test_the_summary_says_what_there_is(tmp_path: Path, capsys: Capsys) -> None:
    capture, dump = write(tmp_path / "c.pcap", pcap(talk().frames)), tmp_path / "d"
    assert main(["import", str(capture), "-f", str(dump), "--name", "10.1.2.4=db"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "plg: 10 packets, 10 segments of TCP",
        "plg: 1 connection, 2 processes, 8 bytes to servers, 10 bytes to clients",
        f"plg: {dump}: {dump.stat().st_size:,} bytes",
    ]
    with open_dump(dump) as written:
        assert [process.name for process in written.processes] == ["db", "h-10-1-2-3"]


def test_the_summary_says_what_is_missing(tmp_path: Path, capsys: Capsys) -> None:
    frames = talk().frames
    capture = write(tmp_path / "c.pcap", pcap(frames[:3] + frames[4:])[:-5])
    assert main(["import", str(capture), "-f", str(tmp_path / "d")]) == 0
    said = capsys.readouterr().err
    assert "plg: incomplete: 1 connection, 8 bytes were not captured; a replay leaves them out" in said
    assert f"plg: {capture}: its end is missing, 51 bytes of a packet are left" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "x=y"], "cannot name x: not an IP address"),
        (["--buffer", "many"], "'many' is not a number of bytes"),
        (["--when-full", "explode"], "'explode' is not one of"),
    ],
)
def test_words_that_cannot_be_are_status_2(
    tmp_path: Path, capsys: Capsys, words: list[str], message: str
) -> None:
    capture = write(tmp_path / "c.pcap", pcap(talk().frames))
    assert main(["import", str(capture), "-f", str(tmp_path / "d"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e300", "0", "long"])
def test_a_silence_that_no_clock_can_count_is_status_2(tmp_path: Path, capsys: Capsys, seconds: str) -> None:
    capture = write(tmp_path / "c.pcap", pcap(talk().frames))
    assert main(["import", str(capture), "-f", str(tmp_path / "d"), "--idle", seconds]) == 2
    said = capsys.readouterr().err
    assert said.startswith("plg: invalid value for '--idle': ") and said.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_what_cannot_be_read_is_status_125(tmp_path: Path, capsys: Capsys) -> None:
    assert main(["import", str(tmp_path / "none"), "-f", str(tmp_path / "d")]) == 125
    assert capsys.readouterr().err == f"plg: cannot read {tmp_path}/none: No such file or directory\n"


def test_a_dump_of_the_original_program_is_converted(tmp_path: Path, capsys: Capsys) -> None:
    dump = tmp_path / "d"
    assert main(["import", str(SAMPLE), "-f", str(dump)]) == 0
    said = f"plg: {SAMPLE} is a dump of the original program: 3 connections\n"
    assert capsys.readouterr().err == f"{said}plg: {dump}: {dump.stat().st_size:,} bytes\n"
    assert main(["check", str(dump)]) == 0


def test_a_capture_that_breaks_leaves_the_dump_as_it_was(tmp_path: Path, capsys: Capsys) -> None:
    capture, dump = write(tmp_path / "c.pcapng", pcapng(talk().frames)), tmp_path / "d"
    capture.write_bytes(capture.read_bytes() + bytes(64))
    assert main(["import", str(capture), "-f", str(dump)]) == 125
    assert not dump.exists()
    dump.write_bytes(b"as it was")
    assert main(["import", str(capture), "-f", str(dump)]) == 125
    assert dump.read_bytes() == b"as it was"
    assert sorted(os.listdir(tmp_path)) == ["c.pcapng", "d"]


def test_stdin_is_a_capture_too(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = write(tmp_path / "c.pcap", pcap(talk().frames))
    with capture.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["import", "-", "-f", str(tmp_path / "d")]) == 0
    assert "8 bytes to servers" in capsys.readouterr().err
