"""What a replay takes, against the recording that it plays: bulk, and small messages to and fro."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from bench_parts.stage import Failed, warm
from bench_parts.ways import PORT, SERVER_DIRECT, peers, plg, plg_environment

_TOOK = re.compile(r"(\d+\.\d+) s$", re.MULTILINE)
_SMALL_S = 2.0


def measure_replay(place: Path, mib: int) -> dict[str, float]:
    """Seconds of a recording of so many MiB, of its three replays without waiting for time, and the most
    memory that one of them had; then the same of small messages."""
    warm(place, 2 * mib << 20)
    figures = _measure(
        "bulk", peers("pour", str(PORT), str(mib)), peers("drain", SERVER_DIRECT, str(PORT)), place
    )
    result = place / "pingpong.json"
    client = peers("pingpong", SERVER_DIRECT, str(PORT), f"{_SMALL_S:g}", str(result))
    # The client stops by the clock, at another round trip in each run: only the server can be live.
    figures |= _measure("small", peers("echo", str(PORT)), client, place, ways=("client",))
    return figures


def _measure(
    name: str, server: str, client: str, place: Path, ways: tuple[str, ...] = ("server", "client", "none")
) -> dict[str, float]:
    dump = place / f"{name}.traffic"
    record = ["--record", "-f", str(dump), "--ready", f"p1:{PORT}", "--until", "p2", server, client]
    figures = {f"{name}_recorded_s": _run(record, place)[0]}
    commands = {"server": ("-", client), "client": (server, "-"), "none": (server, client)}
    for way in ways:
        seconds, mib = _run(["--replay", "-f", str(dump), "--speed", "max", *commands[way]], place)
        figures[f"{name}_canned_{way}_s"] = seconds
        figures[f"{name}_replay_mib"] = max(mib, figures.get(f"{name}_replay_mib", 0.0))
    figures[f"{name}_slowest"] = max(figures[f"{name}_canned_{way}_s"] for way in ways)
    figures[f"{name}_ratio"] = figures[f"{name}_slowest"] / figures[f"{name}_recorded_s"]
    dump.unlink()
    return figures


def _run(words: list[str], place: Path) -> tuple[float, float]:
    """What plg says that the run took, and its greatest resident memory in MiB."""
    log = place / "replay.log"
    with log.open("wb") as out:
        run = subprocess.Popen(
            plg(*words), stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=plg_environment()
        )
        _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    said = log.read_text(errors="replace")
    took = _TOOK.findall(said)
    if run.returncode or not took:
        raise Failed(f"cannot run plg {words[0]}: status {run.returncode}\n{said[-2000:]}")
    return float(took[-1]), usage.ru_maxrss / 1024
