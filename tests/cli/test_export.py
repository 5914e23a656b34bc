"""`plg export`: where to, what of it, and words that cannot be."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from capture.frames import Frame, Talk, pcap, pcapng, write
from dump.making import opened, say, writing

from needs import cannot_run
from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with writing(tmp_path / "dump") as writer:
        for at in range(2):
            talk = opened(writer, 4, 40000 + at)
            say(talk, CLIENT, b"question")
            say(talk, SERVER, b"answer")
    return tmp_path / "dump"


@pytest.mark.parametrize(
    ("output", "said"),
    [("out.pcap", "14 packets"), ("out.pcapng", "14 packets"), ("streams/", "4 files")],
)
def test_the_name_says_what_is_written(
    dump: Path, tmp_path: Path, capsys: Capsys, output: str, said: str
) -> None:
    assert main(["export", str(dump), "-o", f"{tmp_path}/{output}"]) == 0
    assert capsys.readouterr().err == f"plg: {tmp_path / output}: {said}\n"
    assert (tmp_path / output).exists()


def test_json_goes_to_stdout_or_to_a_file(dump: Path, tmp_path: Path, capsys: Capsys) -> None:
    assert main(["export", str(dump), "--json", "--conn", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["side"] for line in lines] == ["client", "server"]
    assert main(["export", str(dump), "--json", "--conn", "1", "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out").read_text().splitlines() == lines


@pytest.mark.parametrize(
    "words",
    [
        ["export", "-o", "OUT.pcapng"],
        ["export", "-o", "OUT/"],
        ["export", "-o", "OUT/", "--parquet"],
        ["export", "-o", "OUT", "--json"],
        ["report", "-o", "OUT"],
    ],
)
def test_a_byte_that_changed_on_the_disk_is_not_handed_on(
    dump: Path, tmp_path: Path, capsys: Capsys, words: list[str]
) -> None:
    if "--parquet" in words and find_spec("pyarrow") is None:
        cannot_run("needs pyarrow")
    dump.write_bytes(dump.read_bytes().replace(b"question", b"Question"))
    assert main([words[0], str(dump), *(word.replace("OUT", f"{tmp_path}/out") for word in words[1:])]) == 125
    assert "damaged at byte 0: the CRC-32" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [dump]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "cannot export: say where to with -o, or --json"),
        (["-o", "out.txt"], "cannot tell what out.txt is to be: NAME.pcapng, NAME.pcap, or DIR/"),
        (["-o", "x.pcap", "--conn", "2"], "cannot export connection 2: the recording holds 2 connections"),
    ],
)
def test_words_that_cannot_be_are_status_2(
    dump: Path, capsys: Capsys, words: list[str], message: str
) -> None:
    assert main(["export", str(dump), *words]) == 2
    assert capsys.readouterr().err == f"plg: {message}\n"


@pytest.mark.parametrize(
    ("form", "what"),
    [
        (pcap, "not a dump; plg import makes one of a capture"),
        (lambda frames: gzip.compress(pcap(frames)), "not a dump; plg import makes one of a capture"),
        (pcapng, "a pcapng file, but not one that plg has written; plg import makes a dump of it"),
    ],
)
def test_who_gives_a_capture_is_told_of_the_import(
    tmp_path: Path, capsys: Capsys, form: Callable[[list[Frame]], bytes], what: str
) -> None:
    path = write(tmp_path / "capture", form(Talk().open().say(0, b"question" * 40).close().frames))
    assert main(["export", str(path), "-o", str(tmp_path / "out.pcap")]) == 125
    assert capsys.readouterr().err == f"plg: cannot read {path}: {what}\n"
