"""The kernel's text tables of a network namespace, parsed (pure)."""

from __future__ import annotations

import sys
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

_LISTEN = "0A"
_SO_ACCEPTCON = 0x10000


class MalformedTable(ValueError):
    """The text is no such table."""


def parse_listening(text: str) -> set[tuple[Address, int]]:
    """Addresses and ports in state LISTEN of a /proc/net/tcp or tcp6, which lists them before all others."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            if fields[3] != _LISTEN:
                break
            address, port = fields[1].split(":")
            found.add((_parse_address(address), int(port, 16)))
        except (IndexError, ValueError) as error:
            raise MalformedTable(f"cannot read a line of the TCP table: {line!r}") from error
    return found


def parse_receiving(text: str) -> set[tuple[Address, int]]:
    """Addresses and ports of the sockets in a /proc/net/udp or udp6."""
    found = set()
    for line in text.splitlines()[1:]:
        try:
            address, port = line.split()[1].split(":")
            found.add((_parse_address(address), int(port, 16)))
        except (IndexError, ValueError) as error:
            raise MalformedTable(f"cannot read a line of the UDP table: {line!r}") from error
    return found


def _parse_address(digits: str) -> Address:
    """The kernel prints each 32-bit word of the address as a number in the machine's byte order."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    return ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def parse_tx_dropped(text: str, device: str) -> int:
    """How many packets the device's transmit queue lost, from a /proc/net/dev."""
    for line in text.splitlines():
        name, colon, figures = line.partition(":")
        if colon and name.strip() == device:
            try:
                return int(figures.split()[11])
            except (IndexError, ValueError) as error:
                raise MalformedTable(f"cannot read a line of the device table: {line!r}") from error
    return 0


def parse_unix_listeners(text: str) -> set[str]:
    """Paths (abstract ones with @) of listening UNIX sockets, from a /proc/net/unix."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split(None, 7)
        try:
            if len(fields) == 8 and int(fields[3], 16) & _SO_ACCEPTCON:
                found.add(fields[7])
        except ValueError as error:
            raise MalformedTable(f"cannot read a line of the UNIX table: {line!r}") from error
    return found


def may_list_more(text: str) -> bool:
    """Whether the listeners of a TCP table may go on behind this beginning of it: they come first in it."""
    lines = text.splitlines()
    fields = lines[-1].split() if lines else []
    return len(fields) < 4 or fields[3] in (_LISTEN, "st")
