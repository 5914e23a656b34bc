from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from netplayground.sandbox import network

ADDRESSES: list[network.Interface] = [
    IPv4Interface("10.0.0.1/24"),
    IPv6Interface("fd00::1/64"),
    IPv6Interface("fe80::1/64"),
]


@pytest.fixture(autouse=True, scope="module")
def messages_loaded() -> None:
    network.load()


def headers(batch: network.Batch) -> list[tuple[int, int]]:
    """Type and flags of each message."""
    found = []
    offset = 0
    while offset < len(batch.messages):
        length, kind, flags = struct.unpack_from("=IHH", batch.messages, offset)
        found.append((kind, flags))
        offset += length + 3 & ~3
    return found


def test_every_request_of_a_process_is_named_and_answered() -> None:
    batch = network.process_requests(2, 1500, 10000, ADDRESSES)
    assert batch.purposes == (
        "bring up loopback",
        "settle tun0",
        "bring up tun0",
        "add address 10.0.0.1/24",
        "add address fd00::1/64",
        "add address fe80::1/64",
        "add the IPv4 default route",
        "add the IPv6 default route",
    )
    assert len(headers(batch)) == len(batch.purposes)
    assert all(flags & 0x4 for _, flags in headers(batch))


def test_without_ipv6_nothing_of_it_is_asked() -> None:
    batch = network.process_requests(2, 1500, 10000, ADDRESSES[:1])
    assert not any("v6" in purpose for purpose in batch.purposes)
    assert b"tun0" not in batch.messages


def test_rule_0_goes_last_in_each_family() -> None:
    batch = network.proxy_requests(2, 1500, 10000, [socket.AF_INET, socket.AF_INET6])
    for family in ("IPv4", "IPv6"):
        rules = [purpose for purpose in batch.purposes if f"{family} routing rule" in purpose]
        assert [rule.split()[0] for rule in rules] == ["add", "add", "add", "delete"]
        assert rules[-1].endswith(" 0")


def test_a_refused_request_is_named() -> None:
    # Nobody has a device of that index, and whoever has one may not take it over without power.
    batch = network.process_requests(2**30, 1500, 10000, ADDRESSES[:1])
    settle = network.Batch(batch.purposes[1:2], batch.messages[struct.unpack_from("=I", batch.messages)[0] :])
    with pytest.raises(OSError) as caught:
        network.apply(settle)
    assert caught.value.errno in (errno.ENODEV, errno.EPERM)
    assert caught.value.filename == "settle tun0"


def test_who_imports_pyroute2_later_gets_it_whole() -> None:
    program = (
        "import sys\n"
        "from netplayground.sandbox import network\n"
        "network.load()\n"
        "assert 'pyroute2' not in sys.modules\n"
        "from pyroute2 import IPRoute\n"
        "network.load()\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(root)}, check=True)
