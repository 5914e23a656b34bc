"""Bulk: one way with a known content, and iperf3 each way."""

from __future__ import annotations

import json

import pytest
from journey import loads
from journey.dumps import assert_unflagged, assert_whole, sums_of
from journey.runs import Place, record

from needs import needs_program, needs_tun

SERVE = "iperf3 -s -1 -p 5201 > /dev/null"
CONTROL = 1  # iperf3 has one connection for its own words


def test_a_stream_one_way_is_whole(place: Place) -> None:
    needs_tun()
    loads.one_way(place, 96 << 20)


@pytest.mark.parametrize(
    ("way", "streams"),
    [([], 1), (["-R"], 1), (["--bidir"], 2)],
    ids=["to the server", "to the client", "both ways"],
)
def test_iperf3_is_satisfied(place: Place, way: list[str], streams: int) -> None:
    needs_tun()
    needs_program("iperf3")
    # -n would end each direction on its own; a limited rate keeps the dump small.
    call = " ".join(["iperf3 -c 10.0.0.1 -p 5201 -t 1 -b 400M -J", *way])
    ended = record(place, SERVE, call, options=("--ready", "p1:5201", "--until", "p2"))
    assert ended.status == 0, ended
    report = json.loads(ended.stdout)
    assert "error" not in report
    sums = sums_of(place.dump)
    assert len(sums) == CONTROL + streams
    # What iperf3 counted on its data connections went over the wire: a cookie of 37 bytes opens each.
    received = sum(total["bytes"] for key, total in report["end"].items() if key.startswith("sum_received"))
    assert received <= sum(sent + back for sent, _, back, _ in sums)
    assert_unflagged(place.dump)
    assert_whole(place, place.dump)
