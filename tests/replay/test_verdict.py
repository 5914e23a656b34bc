"""The verdict, for people and for machines."""

from __future__ import annotations

import json

from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict

ONE = Divergence(
    DivergenceKind.DIFFERENT,
    "app",
    7,
    "app -> db:5432",
    0,
    18,
    "said other bytes",
    5,
    2,
    b"\x00SELECT",
    b"\xff",
)
VERDICT = Verdict(
    1, 0, 8, 0, divergence_count=1, divergences=(ONE,), notes={"a note": 2}, warnings=("careful",)
)


def test_shares_are_whole_where_there_was_nothing_to_replay() -> None:
    verdict = Verdict(connections=0, connections_matched=0, bytes=0, bytes_matched=0)
    assert (verdict.connection_share, verdict.byte_share) == (1.0, 1.0)
    assert verdict.first is None
    assert not verdict.has_diverged


def test_shares_count_what_matched() -> None:
    verdict = Verdict(4, 3, 100, 40, divergence_count=2, divergences=(ONE,))
    assert (verdict.connection_share, verdict.byte_share) == (0.75, 0.4)
    assert verdict.first is ONE
    assert verdict.has_diverged


def test_a_divergence_is_one_line_with_its_place() -> None:
    assert ONE.describe() == "app, connection 7 app -> db:5432, byte 18: said other bytes"


def test_the_report_is_json() -> None:
    told = json.loads(json.dumps(VERDICT.as_json()))
    assert told["divergence_count"] == 1
    assert told["notes"] == {"a note": 2}
    assert told["warnings"] == ["careful"]
    (divergence,) = told["divergences"]
    assert divergence["kind"] == "different"
    assert divergence["side"] == "client"
    assert bytes.fromhex(divergence["expected"]) == b"\x00SELECT"
