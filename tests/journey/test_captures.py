"""Captures of tcpdump between test namespaces, as they are and made worse: each stream is that of tshark and
tcpflow where those two agree; where they do not, the rule is named by which ours is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from capture.frames import Frame, pcap, write
from journey.captures import (
    Flows,
    by_plg,
    by_tcpflow,
    by_tshark,
    doubled,
    overlapping,
    read_frames,
    shuffled,
    without,
    wrapped,
)
from journey.dumps import assert_equal_bytes, check_dump
from journey.runs import Place, plg, record, run, witnessed

from needs import needs_program, needs_root, needs_tun

Perturb = Callable[[Sequence[Frame]], Sequence[Frame]]
Rule = Callable[[bytes, bytes, bytes], None]
"""Asserts that ours is right, of (plg's, tshark's, tcpflow's)."""

STREAMS_MOST = 40
_LOST = re.compile(rb"\[\d+ bytes missing in capture file\]\0?")


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where redis and its clients have been recorded and captured: capture.pcap, dump.traffic."""
    needs_root()
    needs_tun()
    needs_program("redis-server", "redis-cli", "redis-benchmark", "tcpdump", "tshark", "tcpflow")
    place = Place(tmp_path_factory.mktemp("captures"))
    words = [
        "redis-benchmark -h 10.0.0.1 -n 60 -c 6 -d 30000 -t set,get -q",
        "redis-cli -h 10.0.0.1 -p 99 ping",
        "redis-cli -h 10.0.0.1 client kill type normal skipme no",
        "true",
    ]
    ended = record(
        place,
        "redis-server --bind 0.0.0.0 --protected-mode no --save ''",
        witnessed(place.path / "capture.pcap", "10.0.0.1", "; ".join(words)),
        options=["--ready", "p1", "--until", "p2"],
    )
    assert ended.status == 0, ended
    return place


def import_(place: Place, capture: Path, dump: Path) -> str:
    """`plg import`; give what it said."""
    ended = run(place, plg("import", str(capture), "-f", str(dump)))
    assert ended.status == 0, ended
    return ended.stderr


def nothing_else(ours: bytes, tshark: bytes, tcpflow: bytes) -> None:
    raise AssertionError(f"tshark and tcpflow differ: {len(ours)}, {len(tshark)}, {len(tcpflow)} bytes")


def waits_for_what_was_overtaken(ours: bytes, tshark: bytes, tcpflow: bytes) -> None:
    """RFC 9293, 3.10.7.4: segments out of order may be held, and are processed in their order. tshark takes
    what was acknowledged before it saw it for lost; tcpflow puts everything in its place."""
    assert_equal_bytes(ours, tcpflow, "tcpflow's")


def keeps_what_was_delivered(ours: bytes, tshark: bytes, tcpflow: bytes) -> None:
    """RFC 9293, 3.10.7.4: what lies before RCV.NXT is trimmed. tcpflow writes over what it has written."""
    assert_equal_bytes(ours, tshark, "tshark's")
    assert len(ours) == len(tcpflow)


def invents_nothing(ours: bytes, tshark: bytes, tcpflow: bytes) -> None:
    """RFC 9293, 3.4: every octet has its number, and what has none was not sent. Of what is missing tshark
    makes a text, tcpflow zeros; it is in neither's way, and in ours not there but counted."""
    assert_equal_bytes(ours, _LOST.sub(b"", tshark), "tshark's, without its text")
    assert len(ours) <= len(tcpflow)


PERTURBED: dict[str, tuple[Perturb, Rule]] = {
    "as it is": (lambda frames: frames, nothing_else),
    "numbers that wrap": (wrapped, nothing_else),
    "shuffled": (lambda frames: shuffled(frames, 1), waits_for_what_was_overtaken),
    "doubled": (lambda frames: doubled(frames, 2), nothing_else),
    "overlapping": (lambda frames: overlapping(frames, 3), nothing_else),
    "forged": (lambda frames: overlapping(frames, 4, forged=True), keeps_what_was_delivered),
    "start cut off": (lambda frames: frames[90:], nothing_else),
    "thinned out": (lambda frames: without(frames, 5, 0.05), invents_nothing),
    "all that loses nothing": (
        lambda frames: shuffled(doubled(overlapping(wrapped(frames), 6), 7), 8),
        waits_for_what_was_overtaken,
    ),
}


@pytest.mark.parametrize(("perturb", "rule"), PERTURBED.values(), ids=PERTURBED)
def test_streams_are_those_of_other_programs(
    witness: Place, tmp_path: Path, perturb: Perturb, rule: Rule
) -> None:
    frames = read_frames(witness.path / "capture.pcap")
    capture = write(tmp_path / "capture.pcap", pcap(perturb(frames)))
    import_(witness, capture, tmp_path / "dump")
    compare(by_plg(tmp_path / "dump"), by_tshark(capture, STREAMS_MOST), by_tcpflow(capture), rule)


def compare(ours: Flows, tshark: Flows, tcpflow: Flows, rule: Rule) -> None:
    assert len(ours) > 20
    assert sorted(ours) == sorted(tshark) == sorted(tcpflow)
    for ends, flows in ours.items():
        assert len(flows) == len(tshark[ends]) == len(tcpflow[ends]) == 1
        one, other = tshark[ends][0], tcpflow[ends][0]
        if one == other:
            assert_equal_bytes(flows[0], one, f"{ends}, tshark's and tcpflow's")
        else:
            rule(flows[0], one, other)


def test_an_imported_capture_is_a_dump_like_any_other(witness: Place, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    said = import_(witness, witness.path / "capture.pcap", dump)
    assert "incomplete" not in said
    check_dump(witness, dump=dump)
    recorded = by_plg(witness.dump)
    assert {ends: flows for ends, flows in by_plg(dump).items() if ends in recorded} == recorded


def test_a_recording_that_is_exported_and_imported_is_the_same(witness: Place, tmp_path: Path) -> None:
    capture, dump = tmp_path / "out.pcapng", tmp_path / "dump"
    ended = run(witness, plg("export", str(witness.dump), "-o", str(capture)))
    assert ended.status == 0, ended
    import_(witness, capture, dump)
    assert by_plg(dump) == by_plg(witness.dump)
    assert endings(witness, dump) == endings(witness, witness.dump)


def endings(place: Place, dump: Path) -> list[str]:
    ended = run(place, plg("show", str(dump)))
    return re.findall(r"(?:closed|reset by \w+|refused|open)$", ended.stdout, re.MULTILINE)


def test_other_programs_read_an_export_without_complaint(witness: Place, tmp_path: Path) -> None:
    capture, folder = tmp_path / "out.pcap", tmp_path / "streams"
    for out in (str(capture), f"{folder}/"):
        assert run(witness, plg("export", str(witness.dump), "-o", out)).status == 0
    ours = by_plg(witness.dump)
    assert by_tshark(capture, STREAMS_MOST) == by_tcpflow(capture) == ours
    files = sorted(path.read_bytes() for path in folder.iterdir())
    assert files == sorted(flow for flows in ours.values() for flow in flows)
