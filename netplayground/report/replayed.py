"""The report of a replay (`plg --replay --report`), or those of a sweep, as the page shows them; it is read
with suspicion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TypeVar

from netplayground.dump.model import SIDES
from netplayground.errors import PlaygroundError

T = TypeVar("T")

_COUNTS = (
    "connections",
    "connections_matched",
    "bytes",
    "bytes_matched",
    "datagrams",
    "datagrams_matched",
    "divergence_count",
    "reordered",
    "rematched",
    "masked_bytes",
)


class NotAReportError(PlaygroundError):
    """The file is not what `plg --replay --report` writes, or is that of another recording."""


def parse_replays(text: str | bytes, connections: int) -> list[dict[str, object]]:
    """What the page needs of the replays of a recording that has so many connections: of one, or of each
    process that was `alone` against the rest. NotAReportError."""
    try:
        report = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAReportError(f"not JSON: {error}") from error
    if isinstance(report, dict) and report and all(map(_is_turn, report.values())):
        return [_parse_turn(str(process), turn, connections) for process, turn in report.items()]
    return [_parse_replay(report, connections)]


def _is_turn(value: object) -> bool:
    """Whether this is what a sweep tells of one process."""
    return isinstance(value, dict) and set(value) == {"status", "report"}


def _parse_turn(process: str, turn: Mapping[str, object], connections: int) -> dict[str, object]:
    status = _get(turn, "status", _is_count)
    if turn["report"] is None:
        return {"alone": process, "status": status, "divergences": []}
    return {**_parse_replay(turn["report"], connections), "alone": process, "status": status}


def _parse_replay(report: object, connections: int) -> dict[str, object]:
    if not isinstance(report, dict) or not isinstance(report.get("divergences"), list):
        raise NotAReportError("it has no divergences: give what plg --replay --report wrote")
    found = [_parse_divergence(each, connections) for each in report["divergences"]]
    notes = _get(report, "notes", _is_mapping)
    return {
        **{name: _get(report, name, _is_count) for name in _COUNTS},
        "status": report.get("status") if _is_count(report.get("status")) else None,
        "reason": report.get("reason") if isinstance(report.get("reason"), str) else None,
        "notes": {str(what): count for what, count in notes.items() if _is_count(count)},
        "warnings": [each for each in _get(report, "warnings", _is_list) if isinstance(each, str)],
        "divergences": found,
    }


def _parse_divergence(each: object, connections: int) -> dict[str, object]:
    if not isinstance(each, dict):
        raise NotAReportError("a divergence is no object")
    record = each.get("record")
    if record is not None and not _is_count(record):
        raise NotAReportError(f"a divergence is of connection {record!r}")
    if record is not None and record >= connections:
        raise NotAReportError(
            f"it is of another recording: it names connection {record}, this one has {connections}"
        )
    return {
        "record": record,
        "side": SIDES.index(_get(each, "side", lambda side: side in SIDES)),
        "seconds": _get(each, "time_ns", _is_count) / 1e9,
        **{name: _get(each, name, _is_count) for name in ("offset", "window")},
        **{name: _get(each, name, _is_text) for name in ("kind", "process", "connection", "text")},
        **{name: _get(each, name, _is_hex) for name in ("expected", "actual")},
    }


def _get(fields: Mapping[str, T], name: str, is_right: Callable[[object], bool]) -> T:
    value = fields.get(name)
    if value is None or not is_right(value):
        raise NotAReportError(f"{name} is {str(value)[:40]!r}")
    return value


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


def _is_hex(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        bytes.fromhex(value)
    except ValueError:
        return False
    return True
