"""The router between devices that are datagram sockets: what it passes on, to whom, and what it drops."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplayground.dump.model import Process, RunHeader
from netplayground.dump.writer import DumpWriter
from netplayground.packet import icmp, ip, tcp, udp, virtio
from netplayground.traffic.connect import Connector
from netplayground.traffic.courier import Courier
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.router import Router, links_by_address

A, B, C = (IPv4Address(f"10.0.0.{n}") for n in (1, 2, 3))
A6, B6, C6 = (IPv6Address(f"fd00:706c:67::{n}") for n in (1, 2, 3))
NOBODY, NOBODY6 = IPv4Address("10.0.0.99"), IPv6Address("fd00:706c:67::99")
Address = IPv4Address | IPv6Address


class Device:
    """A TUN device's two ends: the router's, and ours in place of a kernel."""

    def __init__(self) -> None:
        self.routers, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.routers.setblocking(False)
        self.ours.setblocking(False)

    def heard(self) -> list[bytes]:
        """The packets that came, without their virtio headers."""
        packets = []
        while True:
            try:
                packets.append(self.ours.recv(70_000)[virtio.HEADER_LENGTH :])
            except BlockingIOError:
                return packets

    def close(self) -> None:
        self.routers.close()
        self.ours.close()


class Ear:
    """Hears of a connection and remembers what."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def syn(self) -> None:
        self._heard.append("syn")

    def established(self) -> None:
        self._heard.append("established")

    def refused(self) -> None:
        self._heard.append("refused")

    def unreachable(self) -> None:
        self._heard.append("unreachable")

    def unanswered(self) -> None:
        self._heard.append("unanswered")

    def aborted(self) -> None:
        self._heard.append("aborted")

    def chunk(self, side: int, data: memoryview) -> int:
        raise AssertionError("no pipe is made here")

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        raise AssertionError("no pipe is made here")

    def fin(self, side: int) -> None:
        raise AssertionError("no pipe is made here")

    def rst(self, side: int) -> None:
        raise AssertionError("no pipe is made here")

    def note(self, kind: str, **fields: object) -> None:
        self._heard.append(kind)


class Playground:
    """Three processes, the proxy, and a router between that records; `say` lets one of them send a packet."""

    def __init__(self, path: Path) -> None:
        self.loop = Loop()
        self.heard: list[str] = []
        self.devices = [Device() for _ in range(4)]
        pairs = zip("abc", self.devices, ((A, A6), (B, B6), (C, C6)), strict=False)
        self.links = [
            Link(name, device.routers.fileno(), own, position)
            for position, (name, device, own) in enumerate(pairs, 1)
        ]
        proxy = Link("proxy", self.devices[3].routers.fileno(), ())
        workspace = Workspace(self.loop, -1)
        by_address = links_by_address(self.links)
        connector = Connector(
            workspace, proxy, 2, by_address, lambda *_ends: Ear(self.heard), 10, self.heard.append
        )
        run = RunHeader(("10.0.0.0/24",), tuple(Process(x, n, (), x) for n, x in enumerate("abc", 1)))
        self.writer = DumpWriter.create(path, run, 0)
        courier = Courier(self.writer.datagrams())
        self.router = Router(self.loop, self.links, proxy, connector, IPv4Network("10.0.0.0/24"), courier)

    def say(self, device: int, packet: bytes) -> list[list[bytes]]:
        """What a, b, c and the proxy hear after this."""
        self.devices[device].ours.send(virtio.PLAIN + packet)
        self.loop.again(self.loop.stop)  # after one look at the devices
        self.loop.run()
        return [each.heard() for each in self.devices]

    def close(self) -> None:
        self.router.close()
        self.writer.close()
        self.loop.close()
        for device in self.devices:
            device.close()


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    made = Playground(tmp_path / "d")
    yield made
    made.close()


def packet(source: Address, target: Address, protocol: int, payload: bytes) -> bytes:
    return ip.emit_header(source.packed, target.packed, protocol, len(payload)) + payload


def segment(flags: int, source_port: int = 40_000, port: int = 80) -> bytes:
    ports = source_port.to_bytes(2, "big") + port.to_bytes(2, "big")
    return ports + bytes(8) + bytes((5 << 4, flags)) + bytes(6)


@pytest.mark.parametrize(("source", "target"), [(A, B), (A6, B6)])
def test_tcp_goes_into_the_proxy_and_comes_out_of_it_unchanged(
    playground: Playground, source: Address, target: Address
) -> None:
    there = packet(source, target, ip.TCP, segment(tcp.ACK) + b"payload")
    assert playground.say(0, there) == [[], [], [], [there]]
    assert playground.say(3, there) == [[], [there], [], []]


@pytest.mark.parametrize(("source", "target"), [(A, B), (A6, B6)])
def test_what_is_not_tcp_goes_straight_to_its_process(
    playground: Playground, source: Address, target: Address
) -> None:
    for datagram in (
        udp.emit_packet(source.packed, 1, target.packed, 2, b"hello"),
        packet(source, target, 132, b"SCTP, say"),
    ):
        assert playground.say(0, datagram) == [[], [datagram], [], []]


@pytest.mark.parametrize("target", ["255.255.255.255", "10.0.0.255", "224.0.0.251"])
def test_broadcast_and_multicast_reach_all_others(playground: Playground, target: str) -> None:
    datagram = udp.emit_packet(B.packed, 1, IPv4Address(target).packed, 2, b"hello")
    assert playground.say(1, datagram) == [[datagram], [], [datagram], []]


@pytest.mark.parametrize("protocol", [ip.TCP, ip.UDP, ip.ICMP])
def test_a_foreign_source_is_dropped_and_counted(playground: Playground, protocol: int) -> None:
    assert playground.say(0, packet(C, B, protocol, segment(tcp.ACK))) == [[], [], [], []]
    assert playground.links[0].dropped_source == 1


@pytest.mark.parametrize(("source", "target"), [(A, NOBODY), (A6, NOBODY6)])
def test_an_address_that_nobody_has_is_unreachable(
    playground: Playground, source: Address, target: Address
) -> None:
    datagram = udp.emit_packet(source.packed, 1, target.packed, 2, b"hello")
    for asked in (packet(source, target, ip.TCP, segment(tcp.SYN)), datagram):
        [[answer], *others] = playground.say(0, asked)
        assert others == [[], [], []]
        assert ip.parse_packet(answer).protocol in (ip.ICMP, ip.ICMPV6)
        assert ip.parse_packet(answer).source == target.packed
    assert playground.heard == ["syn", "unreachable"]


def test_no_error_is_sent_about_an_error(playground: Playground) -> None:
    unreachable = icmp.emit_message(A.packed, NOBODY.packed, 3, 1, bytes(4))
    assert playground.say(0, unreachable) == [[], [], [], []]
    assert playground.links[0].dropped_malformed == 0


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\x45",
        packet(A, B, ip.TCP, segment(tcp.SYN))[:30],
        packet(A, B, ip.TCP, segment(tcp.SYN | tcp.FIN)),
        packet(A, B, ip.TCP, segment(tcp.SYN, source_port=0)),
        packet(A, B, ip.TCP, segment(tcp.ACK)).replace(b"\x40\x00\x40\x06", b"\x20\x00\x40\x06"),
    ],
    ids=["nothing", "one octet", "cut off", "SYN and FIN", "port 0", "a fragment of TCP"],
)
def test_a_malformed_packet_is_dropped_and_counted(playground: Playground, octets: bytes) -> None:
    assert playground.say(0, octets) == [[], [], [], []]
    assert playground.links[0].dropped_malformed == 1


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", A.packed, A6.packed]),
    st.sampled_from([b"\x45", b"\x46", b"\x60", b"\x4f", b""]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_octets_harm_the_router(
    playground: Playground, octets: bytes, source: bytes, first: bytes
) -> None:
    """Whatever a root process writes to its device comes to somebody, to nobody, or is counted."""
    forged = bytearray((first + octets).ljust(20, b"\0"))
    if source:
        at = 12 if len(source) == 4 else 8
        forged[at : at + len(source)] = source
    playground.say(0, bytes(forged))


def test_the_virtio_header_passes_through_untouched(playground: Playground) -> None:
    header = virtio.emit_header(virtio.VirtioHeader(1, virtio.GSO_TCPV4, 40, 1448, 20, 16))
    there = packet(A, B, ip.TCP, segment(tcp.ACK) + b"payload")
    playground.devices[0].ours.send(header + there)
    playground.loop.again(playground.loop.stop)
    playground.loop.run()
    assert playground.devices[3].ours.recv(1000) == header + there
