"""A recording as tables of Parquet, for DuckDB, Polars or Spark: connections, chunks, events, datagrams.

One walk in the order of the run fills them. A table's rows wait until there are enough of them for a row
group, which is then written: memory stays bounded, however long the recording. The files appear when all of
them are whole.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from netplayground.dump.appearing import appearing
from netplayground.dump.model import SIDES, Connection, Datagram, Event, EventKind, Fact
from netplayground.dump.recording import Recording
from netplayground.dump.soundness import Soundness
from netplayground.errors import PlaygroundError
from netplayground.report.content import Progress

_ROWS = 1 << 16
_PAYLOAD = 16 << 20
"""So many rows, or so much payload, are a row group."""
_LATEST = (1 << 63) - 1

_COLUMNS = {
    "connections": {
        "connection": "int64",
        "client": "string",
        "client_port": "uint16",
        "client_process": "string",
        "server": "string",
        "server_port": "uint16",
        "server_process": "string",
        "opened": "time",
        "established": "time",
        "closed": "time",
        "bytes_to_server": "int64",
        "bytes_to_client": "int64",
        "chunks_to_server": "int64",
        "chunks_to_client": "int64",
        "ending": "string",
    },
    "chunks": {
        "connection": "int64",
        "side": "string",
        "time": "time",
        "position": "int64",
        "length": "int32",
        "payload": "binary",
    },
    "events": {
        "connection": "int64",
        "side": "string",
        "time": "time",
        "kind": "string",
        "process": "string",
        "fields": "string",
    },
    "datagrams": {
        "time": "time",
        "protocol": "uint8",
        "source": "string",
        "source_port": "uint16",
        "sender": "string",
        "destination": "string",
        "destination_port": "uint16",
        "receiver": "string",
        "length": "int32",
        "payload": "binary",
    },
}
"""The columns of each table and their types; before them stands `dump`, whose rows they are. A chunk's
`position` is that of its first byte in what its side says; an event is any other of a connection, or a fact,
with its `fields` as JSON. Times are those of UTC, without saying so: DuckDB cannot subtract those that do."""


def export_tables(
    recording: Recording,
    folder: Path,
    name: str,
    wanted: Collection[int] | None,
    progress: Progress = lambda done, size: None,
) -> int:
    """Write the tables of a recording that is called `name` in them into a folder; give the number of rows.
    PlaygroundError where that cannot be done, or pyarrow is missing."""
    arrow = _pyarrow()
    with ExitStack() as stack:
        try:
            stack.enter_context(_there(folder))
            files = [stack.enter_context(appearing(folder / f"{table}.parquet")) for table in _COLUMNS]
            with ExitStack() as writing:
                tables = [
                    writing.enter_context(_Table(arrow, file, columns, name))
                    for file, columns in zip(files, _COLUMNS.values(), strict=True)
                ]
                _fill(recording, wanted, progress, *tables)
        except OSError as error:
            raise PlaygroundError(f"cannot write {folder}: {error.strerror or error}") from error
    return sum(table.count for table in tables)


def _pyarrow() -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PlaygroundError(
            f"cannot write Parquet: {error}; pip install 'netplayground[parquet]' brings what it needs"
        ) from error
    module: ModuleType = pyarrow
    return module


def _fill(
    recording: Recording,
    wanted: Collection[int] | None,
    progress: Progress,
    connections: _Table,
    chunks: _Table,
    events: _Table,
    datagrams: _Table,
) -> None:
    summaries = recording.connections
    for identity in range(len(summaries)) if wanted is None else sorted(wanted):
        connections.add(_connection(summaries[identity]))
    said = array("Q", bytes(16 * len(summaries)))
    soundness = Soundness(recording)
    for told in recording.in_order():
        progress(told.offset if isinstance(told, Datagram) else told[1].offset, recording.size)
        if isinstance(told, Datagram):
            if wanted is None:
                soundness.assure(told.offset, told.length)
                datagrams.add(_datagram(told, recording.payload(told)), told.length)
            continue
        identity, event = told
        if wanted is not None and identity not in wanted:
            continue
        if event.kind is EventKind.CHUNK:
            place = 2 * identity + event.side
            soundness.assure(event.offset, event.length)
            chunks.add(_chunk(identity, event, said[place], recording.payload(event)), event.length)
            said[place] += event.length
        else:
            events.add((identity, SIDES[event.side], _time(event.time_ns), event.kind.value, None, None))
    for fact in recording.facts():
        if wanted is None or fact.connection in wanted:
            events.add(_fact(fact))


def _connection(connection: Connection) -> tuple[object, ...]:
    client, server = connection.client, connection.server
    times = (connection.opened_ns, connection.established_ns, connection.closed_ns)
    return (
        connection.id,
        *(str(client.address), client.port, connection.client_process),
        *(str(server.address), server.port, connection.server_process),
        *(_time(time_ns) for time_ns in times),
        *connection.bytes,
        *connection.chunks,
        connection.ending.value,
    )


def _chunk(identity: int, event: Event, position: int, payload: bytes) -> tuple[object, ...]:
    return identity, SIDES[event.side], _time(event.time_ns), position, event.length, payload


def _datagram(datagram: Datagram, payload: bytes) -> tuple[object, ...]:
    return (
        *(_time(datagram.time_ns), datagram.protocol),
        *(str(datagram.source), datagram.source_port, datagram.sender),
        *(str(datagram.destination), datagram.destination_port, datagram.receiver),
        *(datagram.length, payload),
    )


def _fact(fact: Fact) -> tuple[object, ...]:
    side, process = fact.fields.get("side"), fact.fields.get("process")
    return (
        fact.connection,
        side if side in SIDES else None,
        _time(fact.time_ns),
        fact.kind.encode("utf-8", "replace").decode(),
        process if isinstance(process, str) and process.isascii() else None,
        json.dumps(fact.fields, separators=(",", ":")),
    )


def _time(time_ns: int | None) -> int | None:
    """As it fits into a timestamp, whatever a file says."""
    return None if time_ns is None else min(time_ns, _LATEST)


class _Table:
    """One table that is being written."""

    def __init__(self, arrow: Any, file: BinaryIO, columns: dict[str, str], name: str) -> None:
        types = {kind: getattr(arrow, kind) for kind in set(columns.values()) - {"time"}}
        times = arrow.timestamp("ns")
        fields = [(column, times if kind == "time" else types[kind]()) for column, kind in columns.items()]
        self._arrow = arrow
        self._name = name
        self._schema = arrow.schema([("dump", arrow.string()), *fields])
        self._writer = arrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[tuple[object, ...]] = []
        self._payload = 0
        self.count = 0

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_ended: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, row: tuple[object, ...], payload: int = 0) -> None:
        """Take one row, with so many bytes of payload."""
        self._rows.append(row)
        self._payload += payload
        self.count += 1
        if len(self._rows) >= _ROWS or self._payload >= _PAYLOAD:
            self._flush()

    def _flush(self) -> None:
        """Write a row group."""
        if not self._rows:
            return
        names = [self._name] * len(self._rows)
        columns = [
            self._arrow.array(values, field.type)
            for values, field in zip((names, *zip(*self._rows, strict=True)), self._schema, strict=True)
        ]
        self._rows.clear()
        self._payload = 0
        self._writer.write_table(self._arrow.Table.from_arrays(columns, schema=self._schema))


@contextmanager
def _there(folder: Path) -> Iterator[None]:
    """A folder; if it was made for this, it goes when the block fails."""
    was_there = folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not was_there:
            with suppress(OSError):  # what has appeared in it stays
                folder.rmdir()
        raise
