"""Packets of live processes become letters, and letters packets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplayground.packet import icmp, ip, udp, virtio
from netplayground.replay.exchange import Delivery
from netplayground.replay.flows import ICMP, LINK_LOCAL, NOBODY, UDP, Letter
from netplayground.session.plan import PlannedProcess
from netplayground.session.post import Post
from netplayground.traffic.link import Link

HERE, THERE = 0, 1
GROUP = bytes([224, 0, 0, 251])
PROCESSES = [
    PlannedProcess(
        name, position, "true", IPv4Address(f"10.9.0.{position}"), IPv6Address(f"fd00:706c:67::{position}")
    )
    for position, name in enumerate(("here", "there"), 1)
]


class Office:
    """A post whose live process is `HERE`; its device is a file."""

    def __init__(self, device: Path) -> None:
        self.device = device
        self._fd = os.open(device, os.O_RDWR | os.O_CREAT)
        addresses = {
            number: (process.address4, process.address6, IPv6Address(f"fe80::{process.position:x}"))
            for number, process in enumerate(PROCESSES)
        }
        self.link = Link("here", self._fd, addresses[HERE], 1)
        self.told: list[tuple[Letter, int]] = []
        self.post = Post(
            PROCESSES,
            {address.packed: number for number, each in addresses.items() for address in each},
            {HERE: self.link},
            IPv4Network("10.9.0.0/24"),
            IPv4Network("10.0.0.0/24"),
            lambda letter, version: self.told.append((letter, version)),
        )

    def close(self) -> None:
        os.close(self._fd)

    def heard(self, letter: Letter, version: int) -> ip.IpPacket:
        """What the process's kernel is handed."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self.post.deliver(HERE, Delivery(letter, version))
        return ip.parse_packet(self.device.read_bytes()[virtio.HEADER_LENGTH :])


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path / "device")
    yield made
    made.close()


def address(process: int, version: int) -> bytes:
    planned = PROCESSES[process]
    if version == 4:
        return planned.address4.packed
    if version & LINK_LOCAL:
        return IPv6Address(f"fe80::{planned.position:x}").packed
    return planned.address6.packed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(payload=st.binary(max_size=2000), version=st.sampled_from([4, 6, 6 | LINK_LOCAL]))
def test_a_datagram_is_a_letter_whatever_carries_it(office: Office, payload: bytes, version: int) -> None:
    office.told.clear()
    packet = udp.emit_packet(address(HERE, version), 40000, address(THERE, version), 53, payload)
    office.post.datagram(office.link, packet, ())
    assert office.told == [(Letter(UDP, HERE, THERE, b"", 40000, 53, payload), version)]
    heard = office.heard(Letter(UDP, THERE, HERE, b"", 53, 40000, payload), version)
    assert (heard.source, heard.destination) == (address(THERE, version), address(HERE, version))
    datagram = udp.parse_datagram(heard.payload)
    assert (datagram.source_port, datagram.destination_port) == (53, 40000)
    assert datagram.payload == payload


def test_the_largest_is_one_packet(office: Office) -> None:
    heard = office.heard(Letter(UDP, THERE, HERE, b"", 53, 40000, bytes(65_507)), 4)
    assert len(udp.parse_datagram(heard.payload).payload) == 65_507


@pytest.mark.parametrize("group", [GROUP, b"\xff" * 4, bytes([10, 0, 0, 255])])
def test_a_group_is_no_process(office: Office, group: bytes) -> None:
    """The subnet's broadcast address is told as the recording had it."""
    now = bytes([10, 9, 0, 255]) if group[0] == 10 else group
    office.post.datagram(office.link, udp.emit_packet(address(HERE, 4), 5353, now, 5353, b"who?"), ())
    assert office.told[0][0] == Letter(UDP, HERE, NOBODY, group, 5353, 5353, b"who?")
    assert office.heard(Letter(UDP, THERE, NOBODY, group, 5353, 5353, b"who?"), 4).destination == now


@pytest.mark.parametrize(("version", "kinds"), [(4, (0, 3)), (6, (129, 1))])
def test_icmp_speaks_the_family_of_now(office: Office, version: int, kinds: tuple[int, int]) -> None:
    """Recorded over IPv4: an echo reply, and that nobody listens."""
    reply = office.heard(Letter(ICMP, THERE, HERE, b"", 0, 0, bytes(4) + b"ID\0\1"), version)
    live = Letter(UDP, HERE, THERE, b"", 45678, 53, b"anybody?")
    refused = Letter(ICMP, THERE, HERE, b"", 0, 0, b"\x03\x03" + bytes(40), live)
    error = office.heard(refused, version)
    assert (reply.payload[0], error.payload[0]) == kinds
    quoted = ip.parse_packet(error.payload[icmp.HEADER_LENGTH :])
    assert (quoted.source, quoted.destination) == (address(HERE, version), address(THERE, version))
    datagram = udp.parse_datagram(quoted.payload)
    assert (datagram.source_port, bytes(datagram.payload)) == (45678, b"anybody?")


def test_an_error_names_what_it_is_about(office: Office) -> None:
    asked = udp.emit_packet(address(THERE, 4), 40000, address(HERE, 4), 53, b"anybody?")
    error = icmp.emit_message(address(HERE, 4), address(THERE, 4), 3, 3, bytes(4) + asked)
    office.post.named(office.link, error, ())
    quoted = office.told[0][0].quoted
    assert quoted is not None
    assert (quoted.sender, quoted.receiver, quoted.source_port, quoted.port) == (THERE, HERE, 40000, 53)
