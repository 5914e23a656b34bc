"""`plg report`: the page appears whole or not at all, and what cannot be is one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from report.talks import every_protocol

from netplayground.cli.main import main
from netplayground.replay.verdict import Verdict

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return every_protocol(tmp_path / "dump")


def test_the_page_is_written_for_its_owner_alone(dump: Path, tmp_path: Path, capsys: Capsys) -> None:
    output = tmp_path / "report.html"
    assert main(["report", str(dump), "-o", str(output)]) == 0
    assert capsys.readouterr().err == f"plg: {output}: {output.stat().st_size:,} bytes\n"
    assert output.read_text().startswith("<!doctype html>")
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_replay_is_put_into_it(dump: Path, tmp_path: Path) -> None:
    verdict = tmp_path / "verdict.json"
    verdict.write_text(json.dumps(Verdict(1, 1, 5, 5).as_json()))
    output = tmp_path / "report.html"
    assert main(["report", str(dump), "--replay", str(verdict), "-o", str(output)]) == 0
    assert '"replays":[{' in output.read_text()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["dump"], 2, "missing option '-o' / '--output' (see plg report --help)"),
        (["dump", "-o", "dump"], 2, "cannot write dump: it is what is read"),
        (
            ["dump", "-o", "x.html", "--payload", "much"],
            2,
            "'much' is not a number of bytes (65536, 64K, 16M, 1G)",
        ),
        (["none", "-o", "x.html"], 125, "cannot open none: No such file or directory"),
        (["text", "-o", "x.html"], 125, "cannot read text: not a dump"),
        (["dump", "-o", "nowhere/x.html"], 125, "cannot write nowhere/x.html: No such file or directory"),
        (["dump", "-o", "folder"], 125, "cannot write folder: Is a directory"),
        (["dump", "-o", "x.html", "--replay", "none"], 125, "cannot read none: No such file or directory"),
        (
            ["dump", "-o", "x.html", "--replay", "text"],
            125,
            "cannot read text as the report of a replay: not JSON",
        ),
    ],
)
def test_what_cannot_be_leaves_nothing_behind(
    dump: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capsys,
    words: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(dump.parent)
    Path("text").write_text("no dump, and no JSON")
    Path("folder").mkdir()
    before = {name: Path(name).stat().st_mtime_ns for name in os.listdir()}
    assert main(["report", *words]) == status
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert {name: Path(name).stat().st_mtime_ns for name in os.listdir()} == before


def test_an_earlier_page_stays_when_the_new_one_cannot_be_made(dump: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("earlier")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(dump.read_bytes()[:-40] + bytes(40))
    assert main(["report", str(damaged), "-o", str(output)]) == 125
    assert output.read_text() == "earlier"
