"""Datagrams of 64 bytes: what is lost of 30,000 a second, what comes through of an overdriven flow, and how
long one takes to and fro. socat and HAProxy forward no such flow and record none: direct and plg only."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from bench_parts.ways import PORT, Exchange

WAYS_OF_DATAGRAMS = ("direct", "plg")
RATE = 30_000
_SLACK_S = 30.0


def measure_datagrams(way: Callable[[Exchange, Path], None], place: Path, seconds: float) -> dict[str, float]:
    paced = _play(way, place, "flow", seconds, str(RATE))
    overdriven = _play(way, place, "flow", seconds, "0")
    to_and_fro = _play(way, place, "pingpong", seconds)
    return {
        "datagrams_paced_s": paced["sent_s"],
        "datagrams_lost": paced["sent"] - paced["heard"],
        "datagrams_overdriven_s": overdriven["heard_s"],
        "datagrams_p50_us": to_and_fro["p50_us"],
        "datagrams_p99_us": to_and_fro["p99_us"],
    }


def _play(
    way: Callable[[Exchange, Path], None], place: Path, part: str, seconds: float, *rate: str
) -> dict[str, float]:
    result = place / f"{part}.json"
    client = _peers(part, "{server}", str(PORT), *rate, f"{seconds:g}", shlex.quote(str(result)))
    way(Exchange(_peers("server", str(PORT)), client, seconds + _SLACK_S), place)
    figures: dict[str, float] = json.loads(result.read_text())
    return figures


def _peers(*arguments: str) -> str:
    script = Path(__file__).with_name("datagram_peers.py")
    return " ".join(["exec", shlex.quote(sys.executable), shlex.quote(str(script)), *arguments])
