"""`plg show`: what a dump holds, printed while it is read: a long one starts at once and needs no memory."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netplayground.cli import datagrams as said_in_datagrams
from netplayground.cli import put_right
from netplayground.cli.invocation import FILE, debug_option
from netplayground.cli.summary import drop_words
from netplayground.cli.words import columns, counted, hex_lines, printable, seconds, write_lines
from netplayground.errors import UsageError
from netplayground.session.endings import endings_of
from netplayground.session.outcome import DROPS_FACT, ProcessOutcome

if TYPE_CHECKING:
    from netplayground.dump.model import Connection, Event, Process
    from netplayground.dump.recording import Recording

_PREVIEW = 64
_INDENT = " " * 16
_ARROWS = ("→ server", "← client")


@click.command("show", help="Print what the dump FILE holds: processes, connections, bytes.")
@click.option("--conn", "number", type=int, metavar="N", help="The chunks of connection N, and how it ended.")
@click.option("--datagrams", is_flag=True, help="Each datagram: UDP, ICMP and whatever else is not TCP.")
@click.option(
    "--full",
    is_flag=True,
    help=f"With --conn or --datagrams: all that was said, not its first {_PREVIEW} bytes.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object; a connection, an event or a datagram a line."
)
@debug_option
@click.argument("path", metavar="FILE", type=FILE)
def command(path: Path, number: int | None, datagrams: bool, full: bool, as_json: bool) -> None:
    if full and number is None and not datagrams:
        raise UsageError("cannot show all that was said: --full goes with --conn N or --datagrams")
    if datagrams and number is not None:
        raise UsageError("cannot show datagrams of a connection: give --conn or --datagrams")
    # Imported where it is used, as all that is heavy: see main.
    from netplayground.dump.recording import open_recording

    with open_recording(path) as dump:
        if datagrams:
            if as_json:
                lines = _json_with_rows(head_of_dump(dump), {"datagrams": said_in_datagrams.json_rows(dump)})
            else:
                lines = said_in_datagrams.lines(dump, None if full else _PREVIEW)
        elif number is None:
            lines = json_of_dump(dump) if as_json else lines_of_dump(dump, path)
        else:
            connection = find_connection(dump, number)
            if as_json:
                lines = json_of_connection(dump, connection)
            else:
                lines = lines_of_connection(dump, connection, None if full else _PREVIEW)
        write_lines(lines)


def find_connection(dump: Recording, number: int) -> Connection:
    if 0 <= number < len(dump.connections):
        return dump.connections[number]
    there = counted(len(dump.connections), "connection")
    raise UsageError(f"cannot show connection {number}: the dump holds {there}")


def drops(dump: Recording) -> dict[str, dict[str, int]]:
    """What was dropped, by process and reason, as far as the dump tells."""
    found: dict[str, dict[str, int]] = {}
    for fact in dump.facts():
        told = fact.fields.get("processes")
        if fact.kind == DROPS_FACT and isinstance(told, dict):
            for name, counts in told.items():
                if isinstance(counts, dict):
                    found[name] = {why: n for why, n in counts.items() if type(n) is int and n}
    return {name: counts for name, counts in found.items() if counts}


# For people


def lines_of_dump(dump: Recording, path: Path) -> Iterator[str]:
    started = datetime.fromtimestamp(dump.run.started_ns // 1_000_000_000, timezone.utc)
    counts = [
        counted(len(dump.processes), "process", "processes"),
        counted(len(dump.connections), "connection"),
    ]
    if dump.totals.datagrams:
        counts.append(counted(dump.totals.datagrams, "datagram"))
    written = f"recorded {started:%Y-%m-%d %H:%M:%S} UTC by plg {printable(dump.run.version)}"
    yield ", ".join([f"{path}: {dump.state.value}", *counts, written])
    if dump.missing:
        yield f"missing: {printable(dump.missing)}"
    if dump.ambiguous:
        yield f"ambiguous: {printable(dump.ambiguous)}"
    yield ""
    rows = [_process_row(process, end) for process, end in zip(dump.processes, endings_of(dump), strict=True)]
    yield from columns([("process", "addresses", "ended", "command"), *rows])
    if len(dump.connections):
        yield ""
        yield from _connection_table(dump)
        yield from put_right.table(dump)
    if dump.totals.datagrams:
        yield ""
        yield from said_in_datagrams.table(dump)
    if dropped := drops(dump):
        yield ""
        yield printable(drop_words(dropped))


def _process_row(process: Process, end: ProcessOutcome) -> tuple[str, str, str, str]:
    known = end.describe() if _has_ended(end) else "unknown"
    return process.name, " ".join(map(str, process.addresses)), known, printable(process.command)


def _has_ended(end: ProcessOutcome) -> bool:
    return end.ended_by_plg or any(value is not None for value in (end.exit_code, end.signal, end.run_errno))


def _connection_table(dump: Recording) -> Iterator[str]:
    """Widths come from the processes' names, not from the connections: those are printed as they are read."""
    width = max([len("client"), *(len(process.name) for process in dump.processes)]) + len(":65535")
    form = f"{{:>7}}  {{:>14}}  {{:>12}}  {{:<{width}}}  {{:<{width}}}  {{:>15}}  {{:>15}}  {{}}"
    yield form.format(
        "conn", "opened (s)", "open for (s)", "client", "server", "bytes → server", "bytes ← client", "ended"
    )
    for connection in dump.connections:
        to_server, to_client = connection.bytes
        yield form.format(
            connection.id,
            seconds(max(0, connection.opened_ns - dump.run.started_ns)),
            _open_for(connection),
            _end_of(connection, 0),
            _end_of(connection, 1),
            f"{to_server:,}",
            f"{to_client:,}",
            connection.ending.value,
        )


def _open_for(connection: Connection) -> str:
    if connection.closed_ns is None:
        return "-"
    return seconds(max(0, connection.closed_ns - connection.opened_ns))


def _end_of(connection: Connection, side: int) -> str:
    """The process and its port, or the address where it is no process's."""
    endpoint = connection.server if side else connection.client
    name = connection.server_process if side else connection.client_process
    return str(endpoint) if name is None else f"{name}:{endpoint.port}"


def lines_of_connection(dump: Recording, connection: Connection, preview: int | None) -> Iterator[str]:
    yield (
        f"connection {connection.id}: {_end_of(connection, 0)} ({connection.client}) → "
        f"{_end_of(connection, 1)} ({connection.server}), {connection.ending.value}"
    )
    for event in dump.events(connection.id):
        when = seconds(max(0, event.time_ns - dump.run.started_ns))
        what = event.kind.value if not event.length else counted(event.length, "byte")
        yield f"{when:>14}  {_ARROWS[event.side]}  {what}"
        if event.length:
            yield from _chunk_lines(dump.payload(event), preview)
    yield from put_right.table(dump, connection.id)


def _chunk_lines(data: bytes, preview: int | None) -> Iterator[str]:
    for line in hex_lines(data[:preview]):
        yield _INDENT + line
    if preview is not None and len(data) > preview:
        yield f"{_INDENT}… {counted(len(data) - preview, 'more byte')}"


# For programs


def json_of_dump(dump: Recording) -> Iterator[str]:
    rows = {"connections": map(_json_of_connection, dump.connections), "put_right": put_right.json_rows(dump)}
    return _json_with_rows(head_of_dump(dump), rows)


def head_of_dump(dump: Recording) -> dict[str, object]:
    return {
        "version": dump.run.version,
        "state": dump.state.value,
        "missing": dump.missing or None,
        "ambiguous": dump.ambiguous or None,
        "started_ns": dump.run.started_ns,
        "subnets": list(dump.run.subnets),
        "options": dict(dump.run.options),
        "processes": [
            _json_of_process(process, end)
            for process, end in zip(dump.processes, endings_of(dump), strict=True)
        ],
        "datagrams_in_all": dump.totals.datagrams,
        "drops": drops(dump),
    }


def json_of_connection(dump: Recording, connection: Connection) -> Iterator[str]:
    events = (_json_of_event(dump, event) for event in dump.events(connection.id))
    head = {**_json_of_connection(connection), "put_right": put_right.json_of(dump, connection.id)}
    return _json_with_rows(head, {"events": events})


def _json_with_rows(
    head: Mapping[str, object], arrays: Mapping[str, Iterable[dict[str, object]]]
) -> Iterator[str]:
    """One JSON object, whose last members are arrays with a row a line."""
    yield json.dumps(head)[:-1]
    for name, rows in arrays.items():
        yield f", {json.dumps(name)}: ["
        rest = iter(rows)
        for row in islice(rest, 1):
            yield json.dumps(row)
        for row in rest:
            yield f",{json.dumps(row)}"
        yield "]"
    yield "}"


def _json_of_process(process: Process, end: ProcessOutcome) -> dict[str, object]:
    return {
        "name": process.name,
        "position": process.position,
        "addresses": [str(address) for address in process.addresses],
        "command": process.command,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "run_errno": end.run_errno,
        "ended_by_plg": end.ended_by_plg,
    }


def _json_of_connection(connection: Connection) -> dict[str, object]:
    return {
        "id": connection.id,
        "client": _json_of_end(connection, 0),
        "server": _json_of_end(connection, 1),
        "opened_ns": connection.opened_ns,
        "established_ns": connection.established_ns,
        "closed_ns": connection.closed_ns,
        "ending": connection.ending.value,
    }


def _json_of_end(connection: Connection, side: int) -> dict[str, object]:
    endpoint = connection.server if side else connection.client
    return {
        "process": connection.server_process if side else connection.client_process,
        "address": str(endpoint.address),
        "port": endpoint.port,
        "bytes": connection.bytes[side],
        "chunks": connection.chunks[side],
    }


def _json_of_event(dump: Recording, event: Event) -> dict[str, object]:
    row: dict[str, object] = {
        "kind": event.kind.value,
        "side": ("client", "server")[event.side],
        "time_ns": event.time_ns,
    }
    if event.length:
        row["length"] = event.length
        row["data"] = base64.b64encode(dump.payload(event)).decode()
    return row
