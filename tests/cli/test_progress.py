from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.glass import Glass, Time
from cli.test_check import write_dump

from netplayground.cli.main import main
from netplayground.cli.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


@pytest.fixture
def glass() -> Iterator[Glass]:
    glass = Glass()
    yield glass
    glass.close()


def test_a_bar_comes_when_it_takes_long_and_is_gone_at_the_end(
    glass: Glass, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    glass.become_stderr(monkeypatch)
    with Progress() as progress:
        progress.show(100, 10_000)
        assert glass.lines == [""]
        clock.now += 1
        progress.show(2_500, 10_000)
        (line,) = glass.lines
        assert line.endswith("25 % of 10.0 kB") and line.startswith("━━━━━━╸")
        clock.now += 9
        progress.show(5_000, 10_000)
        assert glass.lines[0].endswith("50 % of 10.0 kB, 0:10 left")
    assert glass.lines == [""]


def test_what_is_as_long_as_nobody_knows_has_no_end(
    glass: Glass, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    glass.become_stderr(monkeypatch)
    with Progress() as progress:
        clock.now += 5
        progress.show(2_500, 0)
        assert glass.lines[0].endswith("━ 2.5 kB")


@pytest.mark.parametrize("columns", [20, 25, 40, 300])
def test_it_fits_on_one_row(columns: int, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    glass = Glass(columns)
    glass.become_stderr(monkeypatch)
    with Progress() as progress:
        clock.now += 5
        progress.show(123_456_789_012, 987_654_321_098)
        assert len(glass.lines) == 1 and glass.lines[0].startswith("━")
    glass.close()


def test_after_an_error_it_is_gone_too(glass: Glass, clock: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    glass.become_stderr(monkeypatch)
    with pytest.raises(KeyboardInterrupt), Progress() as progress:
        clock.now += 1
        progress.show(1, 2)
        raise KeyboardInterrupt
    assert glass.lines == [""]


@pytest.mark.parametrize("terminal", ["dumb", "", None])
def test_a_terminal_that_cannot_erase_shows_nothing(
    glass: Glass, clock: Time, monkeypatch: pytest.MonkeyPatch, terminal: str | None
) -> None:
    glass.become_stderr(monkeypatch)
    monkeypatch.delenv("TERM") if terminal is None else monkeypatch.setenv("TERM", terminal)
    with Progress() as progress:
        clock.now += 5
        progress.show(1, 2)
    assert glass.lines == [""] and glass.received == b""


def test_elsewhere_there_is_nothing(clock: Time, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        clock.now += 5
        progress.show(1, 2)
    assert capsys.readouterr() == ("", "")


def test_without_colour_where_it_is_not_wanted(
    glass: Glass, clock: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    glass.become_stderr(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress() as progress:
        clock.now += 1
        progress.show(1, 2)
        assert glass.lines[0].endswith("50 % of 2 bytes")
    assert not re.search(rb"\x1b\[(?!0m|J)", glass.received)


@pytest.mark.parametrize(
    "words", [["check"], ["report", "-o", "page.html"], ["redact", "-o", "out", "--pattern", "x"]]
)
def test_long_work_has_a_bar(
    words: list[str], glass: Glass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dump(tmp_path / "d", complete=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("netplayground.cli.progress._FIRST_S", 0.0)
    glass.become_stderr(monkeypatch)
    assert main([*words, "d"]) == 0
    assert all(line.startswith("plg: ") for line in glass.lines if line)
    assert b"%" in glass.received and "━".encode() in glass.received


def test_rich_is_not_imported_before_it_is_needed() -> None:
    """Start-up is counted in milliseconds; rich takes fifty."""
    words = "import sys, netplayground.cli.record, netplayground.cli.outputs, netplayground.cli.check"
    code = f"{words}; print([name for name in sys.modules if name.startswith('rich')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
