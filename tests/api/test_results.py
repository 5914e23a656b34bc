"""Divergences as text, and results that insist."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplayground.api.results import Replayed, diverged_words, divergence_lines
from netplayground.errors import DivergedError, RunFailedError
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict


def divergence(kind: DivergenceKind, expected: bytes = b"", actual: bytes = b"", at: int = 0) -> Divergence:
    text = f"was {kind.value}"
    return Divergence(kind, "app", 7, "app -> db:80", 0, at, text, 0, at, expected, actual)


def replayed(*divergences: Divergence, status: int = 0) -> Replayed:
    verdict = Verdict(1, 1, 1, 1, divergence_count=len(divergences), divergences=divergences)
    return Replayed(Path("x.traffic"), status, "a reason", (), verdict, 0.5)


def test_expected_stands_beside_actual_and_what_differs_is_marked() -> None:
    found = divergence(DivergenceKind.DIFFERENT, b"GET / HTTP/1.1\r\n", b"GET / HTTX/1.1", at=16)
    assert list(divergence_lines(found)) == [
        "app, connection 7 app -> db:80, byte 16: was different bytes",
        "        byte    expected                             actual",
        "          16    47 45 54 20 2f 20 48 54  GET / HT    47 45 54 20 2f 20 48 54  GET / HT",
        "  >       24    54 50 2f 31 2e 31 0d 0a  TP/1.1..    54 58 2f 31 2e 31        TX/1.1",
    ]


def test_a_divergence_without_bytes_is_one_line() -> None:
    assert len(list(divergence_lines(divergence(DivergenceKind.NO_CONNECTION)))) == 1


def test_what_was_still_to_come_is_no_divergence_of_a_run_that_was_cut() -> None:
    result = replayed(divergence(DivergenceKind.MISSING), divergence(DivergenceKind.DIFFERENT, b"a", b"b"))
    words = diverged_words(result, is_cut=True)
    assert words is not None and "missing" not in words and "different" in words
    assert "missing" in (diverged_words(result) or "")
    assert diverged_words(replayed(divergence(DivergenceKind.STALLED)), is_cut=True) is None
    assert diverged_words(replayed()) is None


def test_only_the_first_are_shown_and_all_are_counted() -> None:
    many = [divergence(DivergenceKind.EXTRA_CONNECTION) for _ in range(5)]
    assert (diverged_words(replayed(*many)) or "").splitlines()[-1] == "… and 2 more"


def test_results_insist_where_they_are_asked_to() -> None:
    clean = replayed()
    assert clean.require_clean() is clean
    with pytest.raises(DivergedError) as met:
        replayed(divergence(DivergenceKind.EXTRA), status=3).require_clean()
    assert isinstance(met.value.result, Replayed) and met.value.exit_status == 3
    with pytest.raises(RunFailedError, match="a reason"):
        replayed(status=124).require_clean()
