"""The report of a replay, as the page takes it: what plg wrote, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict
from netplayground.report.replayed import NotAReportError, parse_replays

VERDICT = Verdict(
    connections=3,
    connections_matched=2,
    bytes=100,
    bytes_matched=90,
    divergence_count=1,
    divergences=(
        Divergence(
            DivergenceKind.DIFFERENT,
            "app",
            2,
            "app -> db:80",
            0,
            7,
            "said other bytes",
            5_000_000,
            4,
            b"ab",
            b"a",
        ),
    ),
    notes={"refused": 2},
    warnings=("a mask covers a whole stream",),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def report(**changes: object) -> dict[str, object]:
    return {"status": 3, "reason": "diverged", **VERDICT.as_json(), **changes}


def test_what_a_replay_wrote_is_read() -> None:
    (parsed,) = parse_replays(json.dumps(report()), 3)
    assert parsed["bytes_matched"] == 90
    assert parsed["notes"] == {"refused": 2}
    assert parsed["divergences"] == [
        {
            "record": 2,
            "side": 0,
            "seconds": 0.005,
            "offset": 7,
            "window": 4,
            "kind": "different",
            "process": "app",
            "connection": "app -> db:80",
            "text": "said other bytes",
            "expected": "6162",
            "actual": "61",
        }
    ]


def test_of_a_sweep_each_turn_is_read() -> None:
    turns = {"db": {"status": 3, "report": report()}, "app": {"status": 125, "report": None}}
    db, app = parse_replays(json.dumps(turns), 3)
    assert (db["alone"], db["status"], db["bytes_matched"]) == ("db", 3, 90)
    assert app == {"alone": "app", "status": 125, "divergences": []}
    with pytest.raises(NotAReportError, match="of another recording"):
        parse_replays(json.dumps(turns), 1)
    with pytest.raises(NotAReportError, match="status is 'none'"):
        parse_replays(json.dumps({"app": {"status": "none", "report": None}}), 3)


def test_the_report_of_another_recording_is_refused() -> None:
    with pytest.raises(NotAReportError, match="of another recording: it names connection 2, this one has 1"):
        parse_replays(json.dumps(report()), 1)


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff", b"[]", b"{}", b'{"divergences": 1}', b"[" * 100_000, b'{"divergences": [1]}'],
)
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(NotAReportError):
        parse_replays(text, 3)


@given(st.binary() | JSON.map(json.dumps))
def test_anything_is_a_report_or_refused(text: bytes | str) -> None:
    with pytest.raises(NotAReportError):
        parse_replays(text, 3)


@given(st.sampled_from(sorted(VERDICT.divergences[0].as_json())), JSON)
def test_a_wrong_field_of_a_divergence_is_refused_or_taken(name: str, value: object) -> None:
    divergence = {**VERDICT.divergences[0].as_json(), name: value}
    try:
        parsed = parse_replays(json.dumps(report(divergences=[divergence])), 3)
    except NotAReportError:
        return
    json.dumps(parsed, allow_nan=False)
