"""`plg capture`: what stderr says while it runs and at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli.glass import Glass

from needs import needs_root
from netplayground.capture.importing import Imported
from netplayground.capture.ring import Counts
from netplayground.cli import capture
from netplayground.cli.capture import Ticker, captured_lines
from netplayground.cli.main import main
from netplayground.dump.writer import Written
from netplayground.session.capture import Captured, Status

Capsys = pytest.CaptureFixture[str]
IMPORTED = Imported(
    packets=10,
    segments=9,
    no_ip=1,
    malformed=0,
    fragments_dropped=0,
    hosts=2,
    incomplete=0,
    missing=0,
    differing=0,
    given_up=0,
    written=Written(1, {}, (8, 10), 0),
    size=2000,
    cut={},
)


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(capture, "time", clock)
    return clock


def test_the_summary_of_a_capture_that_kept_up() -> None:
    assert list(captured_lines(Path("d"), Captured(IMPORTED, Counts(10, 0)))) == [
        "10 packets, 9 segments of TCP, 1 not of IP",
        "0 packets dropped by the kernel",
        "1 connection, 2 processes, 8 bytes to servers, 10 bytes to clients",
        "d: 2,000 bytes",
    ]


def test_the_summary_says_what_was_dropped_and_why_it_ended() -> None:
    *_, dropped, _, _, trouble = captured_lines(
        Path("d"), Captured(IMPORTED, Counts(1010, 1000), "eth0 is gone: the capture ends here")
    )
    assert dropped == "1,000 packets dropped by the kernel of 1,010; the streams that lack them say so"
    assert trouble == "eth0 is gone: the capture ends here"


def test_a_terminal_has_a_line_that_is_gone_at_the_end(monkeypatch: pytest.MonkeyPatch, clock: Time) -> None:
    glass = Glass(columns=60)
    glass.become_stderr(monkeypatch)
    with Ticker(verbose=False) as ticker:
        clock.now += 1
        ticker.show(Status(1_000_000, 12, 3, 4000))
        assert glass.lines == [
            "1,000,000 packets · 12 dropped · 3 connections",
            "4,000 bytes in the dump",
        ]
        ticker.show(Status(2, 0, 1, 1))
        assert glass.lines == ["2 packets · 0 dropped · 1 connection · 1 byte in the dump"]
    assert glass.lines == [""]
    glass.close()


def test_no_terminal_has_a_line_each_ten_seconds_where_it_is_asked_for(capsys: Capsys, clock: Time) -> None:
    with Ticker(verbose=True) as ticker:
        for _ in range(41):
            ticker.show(Status(5, 0, 1, 100))
            clock.now += 0.5
    line = "plg: 5 packets, 0 dropped, 1 connection, 100 bytes in the dump\n"
    assert capsys.readouterr().err == line * 2


def test_no_terminal_has_no_line_else(capsys: Capsys, clock: Time) -> None:
    with Ticker(verbose=False) as ticker:
        clock.now += 60
        ticker.show(Status(5, 0, 1, 100))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["-i", "no-such-if"], 125, "cannot capture on no-such-if: there is no such interface"),
        ([], 2, "missing option '-i'"),
        (["-i", "lo", "--count", "0"], 2, "'--count'"),
        (["-i", "lo", "--ring", "much"], 2, "'much' is not a number of bytes"),
        (["-i", "lo", "--timeout", "nan"], 2, "'nan' is not a number of seconds"),
        (["-i", "lo", "--timeout", "inf"], 2, "'--timeout': inf is not in the range"),
        (["-i", "lo", "--name", "x=y"], 2, "cannot name x: not an IP address"),
    ],
)
def test_what_cannot_be(tmp_path: Path, capsys: Capsys, words: list[str], status: int, message: str) -> None:
    assert main(["capture", "-f", str(tmp_path / "d"), *words]) == status
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_where_nothing_can_be_written_nothing_is_captured(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "no" / "folder"
    assert main(["capture", "-i", "lo", "-f", str(path)]) == 125
    assert capsys.readouterr().err == f"plg: cannot write {path}: No such file or directory\n"


@pytest.mark.parametrize("size", ["1000000G", "99999999999999999999G"])
def test_a_ring_for_which_there_is_no_memory_is_refused(tmp_path: Path, capsys: Capsys, size: str) -> None:
    """The kernel would give it, and end other programs to have it."""
    needs_root()
    assert main(["capture", "-i", "lo", "-f", str(tmp_path / "d"), "--ring", size, "--timeout", "0"]) == 125
    said = capsys.readouterr().err
    assert "bytes is more than half of the memory that is free" in said and said.count("\n") == 1
    assert not (tmp_path / "d").exists()
