"""The part of `plg show` that tells of datagrams: a table of who spoke to whom, or each of them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from netplayground.cli.words import columns, counted, hex_lines, seconds

if TYPE_CHECKING:
    from netplayground.dump.model import Address, Datagram
    from netplayground.dump.recording import Recording

_INDENT = " " * 16
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}


@dataclass(slots=True)
class Exchange:
    """Datagrams of one protocol from one process to a place, and those that came back from there.

    Pairs are (there, back).
    """

    first_ns: int
    sender: str
    receiver: str
    protocol: int
    counts: list[int] = field(default_factory=lambda: [0, 0])
    bytes: list[int] = field(default_factory=lambda: [0, 0])


def exchanges(datagrams: Iterable[Datagram]) -> list[Exchange]:
    """Who said how much to whom, in the order of the first datagrams; a sender's own port does not matter."""
    found: dict[tuple[int, str, str], Exchange] = {}
    for each in datagrams:
        sender, receiver = _who(each.sender, each.source), _who(each.receiver, each.destination)
        there = each.protocol, sender, _place(receiver, each.destination_port)
        back = each.protocol, receiver, _place(sender, each.source_port)
        way = 1 if there not in found and back in found else 0
        exchange = found.get(back if way else there)
        if exchange is None:
            exchange = found[there] = Exchange(each.time_ns, sender, there[2], each.protocol)
        exchange.counts[way] += 1
        exchange.bytes[way] += each.length
    return list(found.values())


def table(dump: Recording) -> Iterator[str]:
    """A line for each exchange."""
    rows = [("first (s)", "protocol", "from", "to", "there", "bytes →", "back", "bytes ←")]
    for each in exchanges(dump.datagrams()):
        first = seconds(max(0, each.first_ns - dump.run.started_ns))
        there, back = each.counts
        rows.append(
            (
                first,
                _protocol(each.protocol),
                each.sender,
                each.receiver,
                f"{there:,}",
                f"{each.bytes[0]:,}",
                f"{back:,}",
                f"{each.bytes[1]:,}",
            )
        )
    yield from columns(rows)


def lines(dump: Recording, preview: int | None) -> Iterator[str]:
    """Each datagram with its first bytes, or with all of them."""
    for each in dump.datagrams():
        when = seconds(max(0, each.time_ns - dump.run.started_ns))
        sender = _place(_who(each.sender, each.source), each.source_port)
        receiver = _place(_who(each.receiver, each.destination), each.destination_port)
        what = f"{_protocol(each.protocol)}, {counted(each.length, 'byte')}"
        yield f"{when:>14}  {sender} → {receiver}  {what}"
        data = dump.payload(each)
        for line in hex_lines(data[:preview]):
            yield _INDENT + line
        if preview is not None and len(data) > preview:
            yield f"{_INDENT}… {counted(len(data) - preview, 'more byte')}"


def json_rows(dump: Recording) -> Iterator[dict[str, object]]:
    """Each datagram for a program; ports are null where there are none."""
    for each in dump.datagrams():
        yield {
            "time_ns": each.time_ns,
            "protocol": each.protocol,
            "sender": each.sender,
            "source": str(each.source),
            "source_port": each.source_port if each.is_udp else None,
            "receiver": each.receiver,
            "destination": str(each.destination),
            "destination_port": each.destination_port if each.is_udp else None,
            "length": each.length,
            "data": base64.b64encode(dump.payload(each)).decode(),
        }


def _who(name: str | None, address: Address) -> str:
    if name is not None:
        return name
    return f"[{address}]" if address.version == 6 else str(address)


def _place(who: str, port: int) -> str:
    return f"{who}:{port}" if port else who


def _protocol(number: int) -> str:
    return _PROTOCOLS.get(number, f"protocol {number}")
