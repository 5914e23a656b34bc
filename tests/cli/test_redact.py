"""`plg redact`: what it says, and that nothing is half-written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from dump.making import create, every_ending, opened, say, writing
from dump.test_tunreplay import SAMPLE

from netplayground.cli.main import main
from netplayground.dump.model import CLIENT


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with writing(tmp_path / "d.traffic") as writer:
        every_ending(writer, 4)
    return tmp_path / "d.traffic"


def test_it_says_what_was_replaced(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = dump.with_name("clean")
    assert main(["redact", str(dump), "-o", str(output), "--pattern", "answer", "--pattern", "'db'"]) == 0
    said = capsys.readouterr().err
    assert said == f"plg: {output}: 6 bytes in 1 place replaced, 1 command changed\n"
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert main(["check", str(output)]) == 0
    assert main(["show", str(output)]) == 0


def test_an_existing_file_is_replaced_and_becomes_private(dump: Path) -> None:
    output = dump.with_name("clean")
    output.write_text("old")
    output.chmod(0o644)
    assert main(["redact", str(dump), "-o", str(output), "--pattern", "x"]) == 0
    assert stat.S_IMODE(output.stat().st_mode) == 0o600 and output.stat().st_size > 1000


def test_a_torn_dump_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "torn"
    writer = create(path)
    say(opened(writer), CLIENT, b"secret")
    writer.close(complete=False)
    assert main(["redact", str(path), "-o", str(tmp_path / "clean"), "--pattern", "secret"]) == 0
    assert f"plg: torn as {path} is, missing: the end of the run and its index" in capsys.readouterr().err


def test_a_dump_of_the_original_program_becomes_one_of_plg(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "clean"
    assert main(["redact", str(SAMPLE), "-o", str(output), "--pattern", r"(?<=User-Agent: )[^\r\n]*"]) == 0
    said = capsys.readouterr().err
    assert f"plg: {SAMPLE} is of the original program, {output} is a dump of plg\n" in said
    assert main(["check", str(output)]) == 0


def test_a_match_that_is_cut_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"key=" + b"s" * 70_000)
    assert main(["redact", str(tmp_path / "d"), "-o", str(tmp_path / "c"), "--pattern", "(?<=key=).*"]) == 0
    assert "plg: 1 match is 64 KiB long, and no match is longer: what" in capsys.readouterr().err


def test_what_could_not_be_looked_into_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"\x16\x03\x01 and so on")
    assert main(["redact", str(tmp_path / "d"), "-o", str(tmp_path / "c"), "--pattern", "secret"]) == 0
    assert "plg: 1 stream with something packed or encrypted (gzip, zstd, TLS)" in capsys.readouterr().err


def test_octets_can_be_given_that_are_no_text(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = os.fsdecode(b"\xff|answer")
    assert main(["redact", str(dump), "-o", str(dump.with_name("clean")), "--pattern", pattern]) == 0
    assert "6 bytes in 1 place" in capsys.readouterr().err


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
def test_the_dump_itself_is_never_written(dump: Path, capsys: pytest.CaptureFixture[str], link: str) -> None:
    output, before = dump, dump.read_bytes()
    if link != "itself":
        output = dump.with_name("link")
        (os.symlink if link == "symbolic" else os.link)(dump, output)
    assert main(["redact", str(dump), "-o", str(output), "--pattern", "answer"]) == 2
    assert f"cannot write {output}: it is what is read" in capsys.readouterr().err
    assert dump.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["d.traffic", "-o", "out", "--pattern", "("], 2, "cannot use --pattern '(': missing ), "),
        (["d.traffic", "-o", "out", "--pattern", ""], 2, "it matches the empty string only"),
        (["d.traffic", "-o", "out"], 2, "missing option '--pattern'"),
        (["d.traffic", "--pattern", "x"], 2, "missing option '-o'"),
        (["nowhere", "-o", "out", "--pattern", "x"], 125, "cannot open nowhere: No such file or directory"),
        (["text", "-o", "out", "--pattern", "x"], 125, "cannot read text: not a dump"),
        (["bad", "-o", "out", "--pattern", "x"], 125, "cannot read bad: damaged at byte"),
        (["d.traffic", "-o", "no/out", "--pattern", "x"], 125, "cannot write no/out: No such file"),
        (["d.traffic", "-o", ".", "--pattern", "x"], 125, "cannot write .: not a regular file"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    dump: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(dump.parent)
    Path("text").write_text("some text that is not a dump")
    Path("bad").write_bytes(dump.read_bytes().replace(b"question", b"answered"))
    assert main(["redact", *words]) == status
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(os.listdir()) == ["bad", "d.traffic", "text"]
