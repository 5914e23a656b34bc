"""Live capture of bulk by plg and by tcpdump -w, one after the other on the same traffic: what each loses.

No packet is longer than the MTU, as on a wire without offloading: of packets of 64 KiB there are so few that
nothing would be measured.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench_parts.stage import Failed, Space, Stage
from bench_parts.ways import PORT, plg, plg_environment

_SLACK_S = 30.0
_RATE = "1G"
_TCPDUMP = ("tcpdump", "-Z", "root", "-B", "65536")  # as much memory for packets that wait as plg has
_DROPPED = re.compile(r"([\d,]+) packets? dropped by (?:the )?kernel")
_SEEN = re.compile(r"(?:plg: ([\d,]+) packets?,|(\d+) packets received by filter)")


def measure_capture(place: Path, seconds: float) -> dict[str, float]:
    """Packets lost at 1 Gbit/s, and what is kept of as much as the sender gets out."""
    if shutil.which("tcpdump") is None:
        raise Failed("cannot measure live capture: not installed: tcpdump")
    figures: dict[str, float] = {}
    for name in ("plg", "tcpdump"):
        _, packets, lost = _play(name, place, seconds, "-b", _RATE)
        figures[f"capture_{name}_packets_s"] = packets / seconds
        figures[f"capture_{name}_lost"] = lost
        gbit_s, packets, lost = _play(name, place, seconds)
        figures[f"capture_{name}_kept_gbit_s"] = gbit_s * (1 - lost / packets)
    figures["capture_ratio"] = figures["capture_plg_kept_gbit_s"] / figures["capture_tcpdump_kept_gbit_s"]
    return figures


def _play(name: str, place: Path, seconds: float, *pace: str) -> tuple[float, int, int]:
    """Give the sender's Gbit/s, the packets that passed, and how many of them were lost."""
    dump = place / "bench.traffic"
    with Stage() as stage:
        here, there = stage.space(), stage.space()
        stage.join(here, "10.0.0.2/24", there, "10.0.0.1/24")
        device = f"to{here.holder.pid}"
        for space, end in ((here, f"to{there.holder.pid}"), (there, device)):
            space.run("ip", "link", "set", end, "gso_max_segs", "1")
        words = {
            "plg": plg("capture", "-i", device, "-f", str(dump), "--filter", "tcp"),
            "tcpdump": [*_TCPDUMP, "-i", device, "-w", str(dump), "tcp"],
        }
        with _running(there, words[name], place / "capture.log") as capture:
            _wait_until_hearing(there, capture, dump, place)
            gbit_s = _pour(here, there, place, seconds, pace)
            capture.send_signal(signal.SIGINT)
            capture.wait(_SLACK_S)
    dump.unlink()
    said = (place / "capture.log").read_text(errors="replace")
    lost, seen = _DROPPED.search(said), _SEEN.search(said)
    if lost is None or seen is None:
        raise Failed(f"cannot capture with {name}: {said[-2000:]}")
    drops = int(lost[1].replace(",", ""))
    # What plg says it has seen is without what was lost, what tcpdump says is with it.
    packets = int(seen[1].replace(",", "")) + drops if seen[1] else int(seen[2])
    return gbit_s, packets, drops


@contextmanager
def _running(space: Space, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.unlink(missing_ok=True)
    os.environ["PYTHONPATH"] = plg_environment()["PYTHONPATH"]
    run = space.popen(command, log)
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def _wait_until_hearing(space: Space, capture: subprocess.Popen[bytes], dump: Path, place: Path) -> None:
    """Wait until a packet socket of the namespace hears all protocols, and it is not only the one with which
    a filter is compiled: then the file is there."""
    table = Path(f"/proc/{space.holder.pid}/net/packet")
    end = time.monotonic() + _SLACK_S
    while not (
        dump.exists() and any(line.split()[3] == "0003" for line in table.read_text().splitlines()[1:])
    ):
        if time.monotonic() > end or capture.poll() is not None:
            raise Failed((place / "capture.log").read_text(errors="replace")[-2000:])
        time.sleep(0.01)


def _pour(here: Space, there: Space, place: Path, seconds: float, pace: tuple[str, ...]) -> float:
    result = place / "pour.json"
    result.unlink(missing_ok=True)
    with _running(there, ["iperf3", "-s", "-1", "-p", str(PORT)], place / "server.log") as server:
        there.wait_for_listener(PORT, server, place / "server.log")
        client = ["iperf3", "-c", "10.0.0.1", "-p", str(PORT), "-t", f"{seconds:g}", "-J", *pace]
        with _running(here, client, result) as sender:
            sender.wait(seconds + _SLACK_S)
    report = json.loads(result.read_text())
    if "error" in report:
        raise Failed(f"iperf3: {report['error']}")
    gbit_s: float = report["end"]["sum_received"]["bits_per_second"] / 1e9
    return gbit_s
