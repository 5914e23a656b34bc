"""The packet that an ICMP error quotes, as much of it as there is (RFC 792, RFC 4443)."""

from __future__ import annotations

from dataclasses import dataclass

from netplayground.packet import ip
from netplayground.packet.checksum import Octets

_ICMP_HEADER = 8
_PORTS = frozenset({ip.TCP, ip.UDP})


@dataclass(frozen=True, slots=True)
class Quote:
    """Whose packet it was; ports are 0 where the protocol has none. `payload` begins behind IP's header."""

    protocol: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    payload: bytes


def parse_quote(message: Octets) -> Quote | None:
    """Give what a message of ICMP quotes; None where too little of it is there, or none."""
    quoted = bytes(memoryview(message)[_ICMP_HEADER:])
    version = quoted[0] >> 4 if quoted else 0
    if version == 4 and len(quoted) >= ip.IPV4_HEADER:
        protocol, source, destination = quoted[9], quoted[12:16], quoted[16:20]
        rest = quoted[(quoted[0] & 0x0F) * 4 :]
    elif version == 6 and len(quoted) >= ip.IPV6_HEADER:
        protocol, source, destination = quoted[6], quoted[8:24], quoted[24:40]
        rest = quoted[ip.IPV6_HEADER :]
    else:
        return None
    if protocol not in _PORTS:
        return Quote(protocol, source, 0, destination, 0, rest)
    if len(rest) < 4:
        return None
    ports = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
    return Quote(protocol, source, ports[0], destination, ports[1], rest)
