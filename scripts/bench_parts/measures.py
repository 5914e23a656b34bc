"""What is measured: bulk, ping-pong, connections a second, datagrams; memory and start-up of plg."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_parts.capture import measure_capture
from bench_parts.datagrams import measure_datagrams
from bench_parts.imports import measure_import
from bench_parts.replay import measure_replay
from bench_parts.stage import Failed, warm
from bench_parts.ways import PORT, SERVER_DIRECT, Exchange, peers, plg, plg_environment, running_plg

Figures = dict[str, float]
SLACK_S = 30.0  # beyond the time that a measure takes by itself
_MOST_WRITTEN = 1 << 29  # bytes a second, about, by who records bulk


@dataclass(frozen=True)
class Extent:
    """How much of each measure: the whole of it, or so little that only its working is seen."""

    bulk_s: float
    pingpong_s: float
    connects_s: float
    idle: int
    replay_mib: int
    processes: tuple[int, ...]


WHOLE = Extent(bulk_s=10, pingpong_s=3, connects_s=3, idle=10_000, replay_mib=1024, processes=(1, 10, 100))
QUICK = Extent(bulk_s=2, pingpong_s=1, connects_s=1, idle=500, replay_mib=128, processes=(1, 10))

Way = Callable[[Exchange, Path], None]


def measure_bulk(way: Way, place: Path, extent: Extent) -> Figures:
    result = place / "bulk.json"
    client = f"exec iperf3 -c {{server}} -p {PORT} -P 1 -t {extent.bulk_s:g} -J > {shlex.quote(str(result))}"
    warm(place, int(extent.bulk_s * _MOST_WRITTEN))
    # --one-off ends the server with the test; its own output would only fill the log.
    way(Exchange(f"exec iperf3 -s -1 -p {PORT} > /dev/null", client, extent.bulk_s + SLACK_S), place)
    report = json.loads(result.read_text())
    if "error" in report:
        raise Failed(f"iperf3: {report['error']}")
    return {"bulk_gbit_s": report["end"]["sum_received"]["bits_per_second"] / 1e9}


def measure_pingpong(way: Way, place: Path, extent: Extent) -> Figures:
    report = _with_peers(way, place, "pingpong", extent.pingpong_s)
    return {"p50_us": report["p50_us"], "p99_us": report["p99_us"]}


def measure_connects(way: Way, place: Path, extent: Extent) -> Figures:
    return {"connects_s": _with_peers(way, place, "connects", extent.connects_s)["per_second"]}


def _with_peers(way: Way, place: Path, part: str, seconds: float) -> Figures:
    result = place / f"{part}.json"
    client = peers(part, "{server}", str(PORT), f"{seconds:g}", shlex.quote(str(result)))
    way(Exchange(peers("echo", str(PORT)), client, seconds + SLACK_S), place)
    figures: Figures = json.loads(result.read_text())
    return figures


ON_EVERY_WAY: dict[str, Callable[[Way, Path, Extent], Figures]] = {
    "bulk": measure_bulk,
    "pingpong": measure_pingpong,
    "connects": measure_connects,
    "datagrams": lambda way, place, extent: measure_datagrams(way, place, extent.pingpong_s),
}


def measure_idle(place: Path, extent: Extent) -> Figures:
    """Resident memory and descriptors of plg with many open idle connections, against none."""
    go, stop, result = place / "go", place / "stop", place / "idle.json"
    client = peers(
        *("idle", SERVER_DIRECT, str(PORT), str(extent.idle)),
        *(shlex.quote(str(path)) for path in (result, go, stop)),
    )
    record = plg("--record", "-f", str(place / "idle.traffic"), "--ready", f"p1:{PORT}", "--until", "p2")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with running_plg([*record, peers("echo", str(PORT)), client], place) as run:
        _wait_for_children(run, place)
        before = _usage(run.pid)
        go.touch()
        report = json.loads(_wait_for_file(run, result, place))
        after = _usage(run.pid)
        stop.touch()
        run.wait(timeout=SLACK_S)
    count = report["open"]
    if not count:
        raise Failed(f"no idle connection was served: {report['refusal']}")
    return {
        "idle_open": count,
        "idle_wanted": extent.idle,
        "idle_descriptor_limit": hard,
        "idle_kib_each": (after[0] - before[0]) / count,
        "idle_rss_mib": after[0] / 1024,
        "idle_descriptors": after[1] - before[1],
    }


def _usage(pid: int) -> tuple[int, int]:
    """Resident memory in KiB, and open descriptors."""
    status = Path(f"/proc/{pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return rss, len(os.listdir(f"/proc/{pid}/fd"))


def _wait_for_children(run: subprocess.Popen[bytes], place: Path) -> None:
    """Wait until the client runs: it is the only process that has its gate files in its command line."""
    needle = str(place / "go").encode()
    deadline = time.monotonic() + SLACK_S
    while time.monotonic() < deadline and run.poll() is None:
        if any(needle in line and b"--record" not in line for line in _command_lines()):
            return
        time.sleep(0.05)
    raise Failed((place / "log").read_text(errors="replace")[-2000:] or "the client did not start")


def _command_lines() -> list[bytes]:
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes())
            except OSError:  # ended between the two calls
                continue
    return lines


def _wait_for_file(run: subprocess.Popen[bytes], path: Path, place: Path) -> str:
    deadline = time.monotonic() + 4 * SLACK_S
    while not path.exists():
        if run.poll() is not None or time.monotonic() > deadline:
            raise Failed((place / "log").read_text(errors="replace")[-2000:] or f"no {path.name}")
        time.sleep(0.05)
    return path.read_text()


def measure_start(place: Path, extent: Extent) -> Figures:
    """From the start of plg until the last command runs, and until plg has ended."""
    figures: Figures = {"true_s": _time_run(["true"], place)}
    for count in extent.processes:
        # Each shell makes a file: its time of change is when that command began to run.
        marks = place / f"marks{count}"
        marks.mkdir()
        begin = time.time()
        figures[f"whole{count}_s"] = _time_run([f': > {shlex.quote(str(marks))}/"$PLG_NAME"'] * count, place)
        up = [entry.stat().st_mtime for entry in marks.iterdir()]
        if len(up) != count:
            raise Failed(f"only {len(up)} of {count} processes ran")
        figures[f"up{count}_s"] = max(up) - begin
    return figures


def _time_run(commands: list[str], place: Path) -> float:
    dump = place / "start.traffic"
    begin = time.monotonic()
    with (place / "log").open("ab") as log:
        status = subprocess.run(
            [*plg("--record", "-f", str(dump)), *commands],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=plg_environment(),
            timeout=2 * SLACK_S,
        ).returncode
    took = time.monotonic() - begin
    if status != 0:
        raise Failed((place / "log").read_text(errors="replace")[-2000:])
    return took


def measure_replays(place: Path, extent: Extent) -> Figures:
    """Replays, against the recordings that they play."""
    return measure_replay(place, extent.replay_mib)


def measure_captures(place: Path, extent: Extent) -> Figures:
    """Live capture, against tcpdump's."""
    return measure_capture(place, extent.bulk_s)


def measure_imports(place: Path, extent: Extent) -> Figures:
    """Imports of captures, against tcpflow and tshark."""
    return measure_import(place, extent.replay_mib)


OF_PLG: dict[str, Callable[[Path, Extent], Figures]] = {
    "idle": measure_idle,
    "start": measure_start,
    "replay": measure_replays,
    "capture": measure_captures,
    "import": measure_imports,
}
