"""Links, addresses, routes and rules of a fresh network namespace, set up in one exchange with the kernel.

pyroute2 builds the messages. They go out together over one netlink socket: the kernel works through them in
order inside the one send call and leaves an answer to each, so nothing is waited for. Only pyroute2's message
classes are loaded: the package itself imports three hundred modules, which takes longer than a whole
playground does.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any, Final

from netplayground.sandbox.tun import NAME

Interface = IPv4Interface | IPv6Interface

_NEWLINK: Final = 16
_NEWADDR: Final = 20
_NEWROUTE: Final = 24
_NEWRULE: Final = 32
_DELRULE: Final = 33
_REQUEST_AND_ANSWER: Final = 0x1 | 0x4
_CREATE: Final = _REQUEST_AND_ANSWER | 0x200 | 0x400
_ERROR: Final = 2

_LOOPBACK: Final = 1
_IFF_UP: Final = 1
_GENERATE_NONE: Final = 1
_IFA_F_NODAD: Final = 2
_TABLE_MAIN: Final = 254
_TABLE_LOCAL: Final = 255
_TABLE_OUT: Final = 100
_PROTO_STATIC: Final = 4
_SCOPE_LINK: Final = 253
_SCOPE_HOST: Final = 254
_TYPE_UNICAST: Final = 1
_TYPE_LOCAL: Final = 2
_TO_TABLE: Final = 1
_FAMILY_NAMES: Final = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that go out together: what each is for, and all their messages."""

    purposes: tuple[str, ...]
    messages: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One change: what it is, in words for an error, and the netlink message."""

    purpose: str
    message: bytes


def load() -> None:
    """Load pyroute2's message classes: before a fork, so that no child has to."""
    if "pyroute2" in sys.modules:
        _load_messages()
        return
    found = importlib.util.find_spec("pyroute2")
    if found is None:
        raise ModuleNotFoundError("No module named 'pyroute2'", name="pyroute2")
    hollow = types.ModuleType("pyroute2")
    hollow.__path__ = list(found.submodule_search_locations or ())
    sys.modules["pyroute2"] = hollow
    try:
        _load_messages()
    finally:
        # Whoever imports the package itself later gets it whole.
        del sys.modules["pyroute2"]


def _load_messages() -> None:
    from pyroute2.netlink.rtnl.fibmsg import fibmsg
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    _message_types.update({_NEWLINK: ifinfmsg, _NEWADDR: ifaddrmsg, _NEWROUTE: rtmsg})
    _message_types.update({_NEWRULE: fibmsg, _DELRULE: fibmsg})


_message_types: dict[int, Any] = {}


def process_requests(tun: int, mtu: int, queue: int, addresses: Sequence[Interface]) -> Batch:
    """Everything that a process's namespace needs; `tun` is the device's index there."""
    families = {address.version: _family(address) for address in addresses}
    requests = _links_up(tun, mtu, queue, has_ipv6=6 in families)
    requests += [_address(tun, address) for address in addresses]
    requests += [_default_route(family, tun, _TABLE_MAIN) for family in families.values()]
    return _batch(requests)


def proxy_requests(tun: int, mtu: int, queue: int, families: Sequence[int]) -> Batch:
    """Everything that the proxy namespace needs.

    What comes in from the TUN is local whatever its address, and what starts here leaves through the TUN
    although that address is local too. The kernel's own rule 0 (look into table local first) would turn the
    latter into loopback, so it goes, after its place was taken by the rules below.
    """
    requests = _links_up(tun, mtu, queue, has_ipv6=socket.AF_INET6 in families)
    for family in families:
        requests += [
            _local_route(family),
            _default_route(family, tun, _TABLE_OUT),
            _rule(_NEWRULE, family, 10, _TABLE_LOCAL, ("FRA_IIFNAME", NAME)),
            _rule(_NEWRULE, family, 20, _TABLE_OUT),
            _rule(_NEWRULE, family, 30, _TABLE_LOCAL),
            _rule(_DELRULE, family, 0, _TABLE_LOCAL),
        ]
    if socket.AF_INET6 in families:
        requests.append(_link_local_route(tun))
    return _batch(requests)


def apply(batch: Batch) -> None:
    """Carry out the requests in the caller's network namespace; OSError names the first that is refused."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as channel:
        channel.bind((0, 0))
        channel.send(batch.messages)
        position = 0
        while position < len(batch.purposes):
            for number in _answers(channel.recv(65536, socket.MSG_DONTWAIT)):
                if number:
                    raise OSError(number, os.strerror(number), batch.purposes[position])
                position += 1


def _answers(data: bytes) -> list[int]:
    """The errno (0: done) of each answer in one datagram."""
    numbers = []
    offset = 0
    while offset < len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if kind == _ERROR:
            numbers.append(-struct.unpack_from("=i", data, offset + 16)[0])
        offset += (length + 3) & ~3
    return numbers


def _family(address: Interface) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _encode(
    kind: int, flags: int, purpose: str, fields: dict[str, int], *attributes: tuple[str, Any]
) -> Request:
    message = _message_types[kind]()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message["header"]["type"] = kind
    message["header"]["flags"] = flags
    message.encode()
    padding = -len(message.data) % 4
    return Request(purpose, bytes(message.data) + bytes(padding))


def _batch(requests: Sequence[Request]) -> Batch:
    purposes = tuple(request.purpose for request in requests)
    return Batch(purposes, b"".join(request.message for request in requests))


def _links_up(tun: int, mtu: int, queue: int, *, has_ipv6: bool) -> list[Request]:
    """Settle the TUN before it is up: the kernel would stop it to change its queue, and wait for that.

    No link-local address is generated: it is given. (The setting's file in /proc/sys spins while another
    process changes any network device of the machine.)
    """
    settings: list[tuple[str, Any]] = [("IFLA_MTU", mtu), ("IFLA_TXQLEN", queue)]
    if has_ipv6:
        no_link_local = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _GENERATE_NONE)]}
        settings.append(("IFLA_AF_SPEC", {"attrs": [("AF_INET6", no_link_local)]}))
    return [
        _link(_LOOPBACK, "bring up loopback", _IFF_UP),
        _link(tun, f"settle {NAME}", 0, *settings),
        _link(tun, f"bring up {NAME}", _IFF_UP),
    ]


def _link(index: int, purpose: str, up: int, *attributes: tuple[str, Any]) -> Request:
    fields = {"index": index, "flags": up, "change": up}
    return _encode(_NEWLINK, _REQUEST_AND_ANSWER, purpose, fields, *attributes)


def _address(tun: int, address: Interface) -> Request:
    fields = {
        "family": _family(address),
        "prefixlen": address.network.prefixlen,
        "flags": _IFA_F_NODAD if address.version == 6 else 0,
        "scope": _SCOPE_LINK if address.is_link_local else 0,
        "index": tun,
    }
    text = str(address.ip)
    attributes = (
        [("IFA_ADDRESS", text)] if address.version == 6 else [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    )
    return _encode(_NEWADDR, _CREATE, f"add address {address}", fields, *attributes)


def _default_route(family: int, tun: int, table: int) -> Request:
    fields = {"family": family, "table": table, "proto": _PROTO_STATIC, "type": _TYPE_UNICAST}
    fields["scope"] = _SCOPE_LINK if family == socket.AF_INET else 0
    purpose = f"add the {_FAMILY_NAMES[socket.AddressFamily(family)]} default route"
    return _encode(_NEWROUTE, _CREATE, purpose, fields, ("RTA_OIF", tun))


def _local_route(family: int) -> Request:
    fields = {"family": family, "table": _TABLE_LOCAL, "proto": _PROTO_STATIC, "type": _TYPE_LOCAL}
    fields["scope"] = _SCOPE_HOST if family == socket.AF_INET else 0
    purpose = f"make every {_FAMILY_NAMES[socket.AddressFamily(family)]} address local"
    return _encode(_NEWROUTE, _CREATE, purpose, fields, ("RTA_OIF", _LOOPBACK))


def _link_local_route(tun: int) -> Request:
    """A link-local address is looked up only among the routes of the device that it came in by."""
    fields = {"family": socket.AF_INET6, "table": _TABLE_LOCAL, "proto": _PROTO_STATIC, "type": _TYPE_LOCAL}
    purpose = "make every link-local address local"
    return _encode(
        _NEWROUTE,
        _CREATE,
        purpose,
        {**fields, "dst_len": 10},
        ("RTA_DST", "fe80::"),
        ("RTA_OIF", tun),
    )


def _rule(kind: int, family: int, priority: int, table: int, *attributes: tuple[str, Any]) -> Request:
    fields = {"family": family, "table": table, "action": _TO_TABLE}
    flags = _CREATE if kind == _NEWRULE else _REQUEST_AND_ANSWER
    verb = "add" if kind == _NEWRULE else "delete"
    purpose = f"{verb} {_FAMILY_NAMES[socket.AddressFamily(family)]} routing rule {priority}"
    return _encode(kind, flags, purpose, fields, ("FRA_PRIORITY", priority), *attributes)
