"""The words of a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.cli.verdict import percent, share_words, verdict_lines
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict
from netplayground.session.outcome import RunSummary, Traffic
from netplayground.session.replay import ReplaySummary


def verdict(**fields: Any) -> Verdict:
    return Verdict(**{"connections": 2, "connections_matched": 2, "bytes": 10, "bytes_matched": 10, **fields})


def divergence(window: int = 0, expected: bytes = b"", actual: bytes = b"", text: str = "") -> Divergence:
    return Divergence(
        DivergenceKind.DIFFERENT,
        "app",
        7,
        "app -> db:80",
        0,
        20,
        text or "other bytes",
        0,
        window,
        expected,
        actual,
    )


def lines(found: Verdict) -> list[str]:
    run = RunSummary((), Traffic(), Path("d.traffic"), duration_s=1.2345)
    return list(verdict_lines(ReplaySummary(run, found)))


def test_all_as_recorded_is_one_line() -> None:
    assert lines(verdict()) == ["d.traffic: 100 % of 2 connections and 10 bytes as recorded, 1.234 s"]


def test_nothing_recorded_is_all_of_it() -> None:
    assert share_words(verdict(connections=0, connections_matched=0, bytes=0, bytes_matched=0)) == (
        "100 % of 0 connections and 0 bytes as recorded"
    )


def test_the_share_is_the_least_of_all() -> None:
    assert share_words(verdict(bytes_matched=5, datagrams=4, datagrams_matched=3)) == (
        "50 % of 2 connections, 10 bytes and 4 datagrams as recorded"
    )


def test_figures_that_are_not_zero_are_told() -> None:
    words = share_words(verdict(reordered=1, rematched=2, masked_bytes=3000, divergence_count=1))
    assert words.endswith("as recorded, 1 reordered, 2 rematched, 3,000 bytes ignored, 1 divergence")


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.0, "100 %"), (0.0, "0 %"), (0.9999, "99.9 %"), (1 - 1 / (1 << 40), "99.9 %")],
)
def test_a_share_is_rounded_down(share: float, words: str) -> None:
    assert percent(share) == words


@given(st.integers(1, 1 << 40), st.data())
def test_a_whole_is_said_only_of_the_whole(whole: int, data: st.DataObject) -> None:
    matched = data.draw(st.integers(0, whole))
    words = percent(matched / whole)
    assert (words == "100 %") == (matched == whole)
    assert float(words[:-2]) <= 100 * matched / whole + 1e-9


def test_a_divergence_shows_expected_above_actual() -> None:
    found = verdict(
        divergence_count=1,
        divergences=(divergence(4, b"GET /index.html HTTP/1.1\r\n", b"GET /inde\x00\xff"),),
    )
    assert lines(found)[:-1] == [
        "diverged: app, connection 7 app -> db:80, byte 20: other bytes",
        "  expected         4  47 45 54 20 2f 69 6e 64 65 78 2e 68 74 6d 6c 20  GET /index.html ",
        "                  20  48 54 54 50 2f 31 2e 31 0d 0a                    HTTP/1.1..",
        "  actual           4  47 45 54 20 2f 69 6e 64 65 00 ff                 GET /inde..",
    ]


def test_one_side_without_bytes_says_nothing_more() -> None:
    found = verdict(divergence_count=1, divergences=(divergence(4, b"x"),))
    assert lines(found)[1:-1] == [
        "  expected         4  78                                               x",
        "  actual    nothing more",
    ]


def test_a_divergence_without_bytes_is_one_line() -> None:
    assert len(lines(verdict(divergence_count=1, divergences=(divergence(),)))) == 2


def test_three_divergences_are_shown_the_rest_counted() -> None:
    found = lines(verdict(divergence_count=1_005, divergences=(divergence(),) * 5))
    assert [line.startswith("diverged: ") for line in found] == [True] * 3 + [False] * 2
    assert found[3] == "… and 1,002 divergences more"


def test_what_a_dump_holds_has_no_power_over_a_terminal() -> None:
    found = verdict(
        divergence_count=1,
        divergences=(divergence(0, b"\x1b[2J\n", b"\x9b\x07", text="a name \x1b[31m\nof two lines"),),
        warnings=("a warning \x1b]0;x\x07",),
    )
    assert all(line.isprintable() for line in lines(found))


def test_notes_warnings_and_what_is_missing_come_before_the_share() -> None:
    found = verdict(notes={"connections without a byte": 1_200}, warnings=("w",), missing="its last second")
    assert lines(found)[:-1] == [
        "note: connections without a byte: 1,200",
        "warning: w",
        "the dump is torn, it lacks its last second",
    ]
