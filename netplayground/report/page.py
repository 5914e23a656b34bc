"""The page: one HTML document that holds its data, its style and its script, and asks nobody for anything.

Nothing of a recording ever becomes markup or script. Its data is JSON in ASCII without `<`, `>` and `&`, in a
data block that no browser runs; the script puts it on the page as text only. Should that fail all the same,
the content security policy lets run, by their SHA-256, this one script and this one style, and forbids every
connection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import resources

from netplayground.dump.recording import Recording
from netplayground.replay.casting import CANNED
from netplayground.report.content import KINDS, Content, Progress, Room, emit_column, read_content
from netplayground.report.flows import Flow
from netplayground.session.outcome import ENDED_FACT, ProcessOutcome, parse_ending

_SCRIPTS = (
    "libraries.js",
    "values.js",
    "decoders.js",
    "model.js",
    "charts.js",
    "lists.js",
    "conversation.js",
    "app.js",
)
_STYLES = ("libraries.css", "page.css")
_STARTED_FACT = "process-started"


def make_page(
    recording: Recording,
    name: str,
    room: Room,
    replays: Sequence[Mapping[str, object]] = (),
    progress: Progress = lambda done, size: None,
) -> str:
    """The whole page for a recording, called `name` on it; `replays` are what `parse_replays` gave."""
    content = read_content(recording, room, progress)
    meta = describe(recording, name, content)
    meta["replays"] = list(replays)
    return assemble(meta, content.payload())


def assemble(meta: Mapping[str, object], payload: str) -> str:
    """Put data into the document; `payload` is base64."""
    script, style = _own_script(), "\n".join(map(_source, _STYLES))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "data": emit_data(meta),
        "payload": payload,
        "licences": _source("LIBRARIES.txt"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _source("page.html"))


def emit_data(value: object) -> str:
    """JSON that can end no element and open no comment, whatever strings it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def describe(recording: Recording, name: str, content: Content) -> dict[str, object]:
    """All but the payload, as JSON can hold it."""
    run, began_ns = recording.run, recording.run.started_ns
    started = datetime.fromtimestamp(began_ns // 1_000_000_000, timezone.utc)
    return {
        "name": name,
        "state": recording.state.value,
        "missing": recording.missing,
        "ambiguous": recording.ambiguous,
        "version": run.version,
        "started": f"{started:%Y-%m-%d %H:%M:%S} UTC",
        "processes": _processes(recording),
        "tape_zero": _tape_zero(recording, content),
        "lanes": content.lanes,
        "kinds": KINDS,
        "flows": [_flow(flow, began_ns) for flow in content.flows],
        "columns": content.columns.as_json(),
        "redacted": emit_column(content.redacted),
        "left_out": content.left_out,
    }


def _flow(flow: Flow, began_ns: int) -> list[object]:
    closed = None if flow.closed_ns is None else max(0, flow.closed_ns - began_ns) / 1e9
    return [
        flow.protocol,
        flow.identity,
        *flow.lanes,
        *flow.ends,
        max(0, flow.opened_ns - began_ns) / 1e9,
        closed,
        *flow.bytes,
        *flow.chunks,
        flow.ending,
        *map(len, flow.payload),
    ]


def _processes(recording: Recording) -> list[dict[str, object]]:
    found = {
        each.name: ProcessOutcome(each.name, each.position, each.command) for each in recording.processes
    }
    known = {each.name for each in recording.processes if each.command == CANNED}
    for fact in recording.facts():
        name = fact.fields.get("process")
        if fact.kind == ENDED_FACT and isinstance(name, str) and name in found:
            found[name] = parse_ending(found[name], fact.fields)
            known.add(name)
    return [
        {
            "name": each.name,
            "addresses": [str(address) for address in each.addresses],
            "command": each.command,
            "ended": found[each.name].describe() if each.name in known else "unknown",
        }
        for each in recording.processes
    ]


def _tape_zero(recording: Recording, content: Content) -> float:
    """When a replay's clock began, in seconds since the run's: with the first process or the first event."""
    starts = [fact.time_ns for fact in recording.facts() if fact.kind == _STARTED_FACT]
    zero = min([*starts, *([] if content.first_ns is None else [content.first_ns])], default=0)
    return max(0, zero - recording.run.started_ns) / 1e9


def _own_script() -> str:
    """All scripts in one strict scope; the page gives its parts to nobody but `plg`, for tests."""
    return "(() => {\n'use strict';\n" + "\n".join(map(_source, _SCRIPTS)) + "\n})();"


def _source(name: str) -> str:
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
