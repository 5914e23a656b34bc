"""The router between devices that are datagram sockets: what it passes on, to whom, and what it drops."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from traffic.playground import A6, B6, NOBODY, NOBODY6, A, Address, B, C, Playground, packet

from netplayground.packet import icmp, ip, tcp, udp, virtio


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    made = Playground(tmp_path / "d")
    yield made
    made.close()


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


def test_what_waits_in_a_device_is_drained(playground: Playground) -> None:
    packets = [udp.emit_packet(A.packed, 1, B.packed, 2, b"%d" % number) for number in range(8)]
    for each in packets:
        playground.devices[0].ours.send(virtio.PLAIN + each)
    assert playground.router.drain()
    assert playground.devices[1].heard() == packets
    assert not playground.router.drain()
