"""From the rounds' figures to medians, to what was promised and whether it is kept, to one table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

Medians = dict[str, dict[str, float]]  # way → figure → median

FIGURES = {
    "bulk_gbit_s": "bulk, iperf3 -P 1 [Gbit/s]",
    "p50_us": "ping-pong, 64 bytes, p50 [µs]",
    "p99_us": "ping-pong, 64 bytes, p99 [µs]",
    "connects_s": "connections, one after another [1/s]",
    "datagrams_paced_s": "datagrams of 64 bytes, paced [1/s]",
    "datagrams_lost": "  of these lost",
    "datagrams_overdriven_s": "  heard of an overdriven flow [1/s]",
    "datagrams_p50_us": "  to and fro, p50 [µs]",
    "datagrams_p99_us": "  to and fro, p99 [µs]",
    "idle_open": "idle connections open",
    "idle_wanted": "  of so many wanted",
    "idle_descriptor_limit": "  hard limit of descriptors",
    "idle_rss_mib": "  resident memory [MiB]",
    "idle_kib_each": "  resident memory a connection [KiB]",
    "idle_descriptors": "  descriptors for them",
    "true_s": "plg --record -f x true, whole run [s]",
    "up1_s": "1 process, until it runs [s]",
    "whole1_s": "1 process, whole run [s]",
    "up10_s": "10 processes, until all run [s]",
    "whole10_s": "10 processes, whole run [s]",
    "up100_s": "100 processes, until all run [s]",
    "whole100_s": "100 processes, whole run [s]",
    "bulk_recorded_s": "bulk, recorded [s]",
    "bulk_canned_server_s": "  replayed, server canned, --speed max [s]",
    "bulk_canned_client_s": "  replayed, client canned [s]",
    "bulk_canned_none_s": "  replayed, both live [s]",
    "bulk_replay_mib": "  replayed, most resident memory [MiB]",
    "small_recorded_s": "ping-pong, 64 bytes, recorded [s]",
    "small_canned_client_s": "  replayed, client canned, --speed max [s]",
    "import_bulk_s": "import of a GiB of bulk [s]",
    "import_bulk_tcpflow": "  times as long takes tcpflow -r",
    "import_bulk_tshark": "  times as long takes tshark -q -z conv,tcp",
    "import_small_s": "import of 2,000,000 small packets [s]",
    "import_small_tcpflow": "  times as long takes tcpflow -r",
    "import_small_tshark": "  times as long takes tshark -q -z conv,tcp",
    "import_rss_mib": "  resident memory [MiB]",
    "capture_plg_packets_s": "live capture, 1 Gbit/s in packets of 1,500 bytes [1/s]",
    "capture_plg_lost": "  packets lost",
    "capture_tcpdump_lost": "  packets lost by tcpdump -w",
    "capture_plg_kept_gbit_s": "live capture, unpaced, kept [Gbit/s]",
    "capture_tcpdump_kept_gbit_s": "  kept by tcpdump -w [Gbit/s]",
}


@dataclass(frozen=True)
class Promise:
    """A bound on a figure of plg, or on its ratio to the same figure of another way."""

    text: str
    figure: str
    other: str | None
    at_least: float | None = None
    at_most: float | None = None

    def value(self, medians: Medians) -> float | None:
        own = medians.get("plg", {}).get(self.figure)
        if self.other is None or own is None:
            return own
        base = medians.get(self.other, {}).get(self.figure)
        return own / base if base else None

    def is_kept(self, value: float) -> bool:
        if self.at_least is not None and value < self.at_least:
            return False
        return self.at_most is None or value <= self.at_most

    @property
    def bound(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


PROMISES = (
    Promise("bulk, of direct", "bulk_gbit_s", "direct", at_least=0.25),
    Promise("bulk, of socat recording", "bulk_gbit_s", "socat", at_least=1.5),
    Promise("bulk, of HAProxy with splice", "bulk_gbit_s", "haproxy", at_least=0.6),
    Promise("ping-pong p50, of direct", "p50_us", "direct", at_most=1.3),
    Promise("connections a second, of HAProxy", "connects_s", "haproxy", at_least=1.0),
    Promise("datagrams lost of 30,000 a second", "datagrams_lost", None, at_most=0),
    Promise("datagrams a second, overdriven", "datagrams_overdriven_s", None, at_least=60_000),
    Promise("KiB of resident memory a connection", "idle_kib_each", None, at_most=10),
    Promise("100 processes up [s]", "up100_s", None, at_most=2),
    Promise("bulk, slowest replay, of the recording", "bulk_ratio", None, at_most=1.0),
    Promise("MiB of resident memory of a replay of bulk", "bulk_replay_mib", None, at_most=100),
    Promise("import of bulk, times as fast as tcpflow", "import_bulk_tcpflow", None, at_least=2),
    Promise("import of bulk, times as fast as tshark", "import_bulk_tshark", None, at_least=10),
    Promise("import of small packets, times as fast as tcpflow", "import_small_tcpflow", None, at_least=2),
    Promise("import of small packets, times as fast as tshark", "import_small_tshark", None, at_least=10),
    Promise("import, MiB of resident memory", "import_rss_mib", None, at_most=300),
    Promise("live capture at 1 Gbit/s, packets lost", "capture_plg_lost", None, at_most=0),
    Promise("plg --record -f x true [s]", "true_s", None, at_most=0.4),
)


@dataclass(frozen=True)
class Verdict:
    text: str
    value: float | None
    bound: str
    kept: bool | None


def take_medians(rounds: Iterable[tuple[str, dict[str, float]]]) -> Medians:
    gathered: dict[str, dict[str, list[float]]] = {}
    for way, figures in rounds:
        for name, value in figures.items():
            gathered.setdefault(way, {}).setdefault(name, []).append(value)
    return {
        way: {name: statistics.median(values) for name, values in all_.items()}
        for way, all_ in gathered.items()
    }


def judge(medians: Medians) -> list[Verdict]:
    verdicts = []
    for promise in PROMISES:
        value = promise.value(medians)
        kept = None if value is None else promise.is_kept(value)
        verdicts.append(Verdict(promise.text, value, promise.bound, kept))
    return verdicts


def render(medians: Medians, verdicts: Sequence[Verdict], ways: Sequence[str]) -> str:
    rows = [["figure (median)", *ways]]
    for name, text in FIGURES.items():
        values = [medians.get(way, {}).get(name) for way in ways]
        if any(value is not None for value in values):
            rows.append([text, *(_number(value) for value in values)])
    judged = [["plg, promised", "is", "bound", "kept"]]
    for verdict in verdicts:
        if verdict.value is not None:
            judged.append(
                [verdict.text, _number(verdict.value), verdict.bound, "yes" if verdict.kept else "NO"]
            )
    return "\n\n".join(_align(table) for table in (rows, judged) if len(table) > 1)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict]) -> list[dict[str, object]]:
    return [asdict(verdict) for verdict in verdicts]
