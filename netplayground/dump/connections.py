"""The connections of a dump as a sequence of values, made one by one from their records."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol, overload

from netplayground.dump import blocks
from netplayground.dump.index import ENDINGS, RECORD, Entry
from netplayground.dump.model import Connection, Endpoint, Process, names_by_address
from netplayground.dump.source import Source


class Records(Protocol):
    """Where the records of all connections are, by id."""

    def __len__(self) -> int: ...

    def get(self, identity: int) -> bytes: ...

    def where(self, identity: int) -> int: ...


class HeldRecords:
    """The records that a walk through a torn dump gave; they are gathered in the order in which connections
    ended."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._places = array("Q")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, identity: int, record: bytes) -> None:
        """Keep one record; ids come in any order, but every one comes in the end."""
        if identity >= len(self._places):
            self._places.extend([0] * (identity + 1 - len(self._places)))
        self._places[identity] = len(self._records)
        self._records += record

    def get(self, identity: int) -> bytes:
        """Give a connection's record."""
        place = self._places[identity]
        return bytes(self._records[place : place + RECORD.size])

    def where(self, identity: int) -> int:
        """Say where in the file the record is: nowhere."""
        return 0


class StoredRecords:
    """The records in the connection pages of a complete dump; only their places are held."""

    def __init__(self, source: Source, pages: Iterable[Entry], count: int) -> None:
        self._source = source
        self._places = array("Q")
        # No more is believed, and no memory taken for it, than the file has room for.
        if count * RECORD.size > source.size:
            raise source.damaged(f"{count} connections cannot be in it", source.size)
        self._places.extend([0] * count)
        for page in pages:
            self._find(page, count)
        if not all(self._places):
            raise source.damaged(f"connection {self._places.index(0)} has no record", source.size)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, identity: int) -> bytes:
        """Read a connection's record."""
        return self._source.read(self._places[identity], RECORD.size)

    def where(self, identity: int) -> int:
        """Say where in the file the record is."""
        return self._places[identity]

    def _find(self, page: Entry, count: int) -> None:
        body = self._source.read_page(page)
        place = page.offset + blocks.CUSTOM_HEADER
        if len(body) != page.count * RECORD.size:
            raise self._source.damaged(f"{page.count} connections in {len(body)} bytes", page.offset)
        for at in range(0, len(body), RECORD.size):
            identity = int.from_bytes(body[at : at + 4], "big")
            if identity >= count or self._places[identity]:
                raise self._source.damaged(f"connection {identity} of {count} is there twice", place + at)
            self._places[identity] = place + at


class Connections(Sequence[Connection]):
    """All connections of a dump, by id."""

    def __init__(self, source: Source, records: Records, processes: Iterable[Process]) -> None:
        self._source = source
        self._records = records
        self._names = names_by_address(processes)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Connection: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Connection]: ...

    def __getitem__(self, index: int | slice) -> Connection | Sequence[Connection]:
        if isinstance(index, slice):
            return [self._connection(identity) for identity in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"connection {index} of {len(self)}")
        return self._connection(index % len(self))

    def _connection(self, identity: int) -> Connection:
        try:
            return self._parse(self._records.get(identity))
        except ValueError as error:
            raise self._source.damaged(
                f"connection {identity}: {error}", self._records.where(identity)
            ) from error

    def _parse(self, record: bytes) -> Connection:
        identity, family, code, client_port, server_port, client, server, *numbers = RECORD.unpack(record)
        if family not in (4, 6) or code >= len(ENDINGS):
            raise ValueError(f"family {family}, ending {code}")
        opened, established, closed, *counts, first, last = numbers
        if family == 4:
            client, server = client[:4], server[:4]
        address = IPv4Address if family == 4 else IPv6Address
        return Connection(
            id=identity,
            client=Endpoint(address(client), client_port),
            server=Endpoint(address(server), server_port),
            client_process=self._names.get(client),
            server_process=self._names.get(server),
            opened_ns=opened,
            established_ns=established or None,
            closed_ns=closed or None,
            bytes=(counts[0], counts[1]),
            chunks=(counts[2], counts[3]),
            ending=ENDINGS[code],
            first=first,
            last=last,
        )
