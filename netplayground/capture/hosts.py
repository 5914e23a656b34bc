"""Addresses to processes: whoever speaks in a capture gets a name and a position, in order of appearance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from netplayground.dump.model import Address, Process
from netplayground.errors import UsageError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_EVERYBODY = b"\xff\xff\xff\xff"


def parse_names(words: Iterable[str]) -> dict[Address, str]:
    """Read `ADDRESS=NAME` words; one name may have an address of each family."""
    names: dict[Address, str] = {}
    for word in words:
        text, sign, name = word.partition("=")
        try:
            address = ip_address(text)
        except ValueError as error:
            raise UsageError(f"cannot name {text}: not an IP address (--name ADDRESS=NAME)") from error
        if not sign or not _NAME.fullmatch(name):
            raise UsageError(f"cannot name {text}: {name!r} is not a name (letters, digits, '_', '-')")
        if names.setdefault(address, name) != name:
            raise UsageError(f"cannot name {text} both {names[address]} and {name}")
    _check_own_names(names)
    return names


def _check_own_names(names: Mapping[Address, str]) -> None:
    """Nobody may take the name that another address will get."""
    for address, name in names.items():
        if name.startswith("h-") and name != host_name(address):
            raise UsageError(f"cannot name {address} {name}: so is another address called")


def host_name(address: Address) -> str:
    """Give the name of an address that was given none: h-10-1-2-3."""
    if address.version == 4:
        return "h-" + str(address).replace(".", "-")
    groups = (address.packed[at : at + 2].hex() for at in range(0, 16, 2))
    return "h-" + "-".join(group.lstrip("0") or "0" for group in groups)


class Hosts:
    """The processes of a capture: those that were named, then whoever comes."""

    def __init__(self, names: Mapping[Address, str]) -> None:
        self._positions: dict[bytes, int] = {}
        by_name: dict[str, list[Address]] = {}
        for address, name in names.items():
            by_name.setdefault(name, []).append(address)
        self.named = tuple(
            Process(name, position, tuple(addresses), "")
            for position, (name, addresses) in enumerate(by_name.items(), 1)
        )
        self.count = len(self.named)
        for process in self.named:
            for address in process.addresses:
                self._positions[address.packed] = process.position

    def meet(self, *packed: bytes) -> Iterator[Process]:
        """Give those of some addresses that are new, as processes."""
        for each in packed:
            if each not in self._positions:
                self.count += 1
                self._positions[each] = self.count
                address = ip_address(each)
                yield Process(host_name(address), self.count, (address,), "")

    def knows(self, packed: bytes) -> bool:
        """Say whether an address has been met."""
        return packed in self._positions

    def position(self, packed: bytes) -> int:
        """Give the position of an address that has been met."""
        return self._positions[packed]


def is_one_host(packed: bytes) -> bool:
    """Say whether an address is that of one host: neither a group's, nor everybody's, nor nobody's."""
    if len(packed) == 4:
        return not 224 <= packed[0] < 240 and packed != _EVERYBODY and packed[0] != 0
    return packed[0] != 0xFF and any(packed)
