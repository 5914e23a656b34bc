"""The ring on real interfaces, in namespaces of their own: what comes in, what does not, what is counted."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from capture.wires import HERE, THERE, THERE6, Net, Wire, laid

from needs import cannot_run, needs_program, needs_root, needs_tun
from netplayground.capture.filters import compile_filter
from netplayground.capture.link import ETHERNET, RAW, find_ip
from netplayground.capture.network import parse_network, parse_segment
from netplayground.capture.ring import Ring
from netplayground.errors import CaptureError, UsageError
from netplayground.packet import ip, udp

DEADLINE_S = 20.0
SMALL = 1 << 20
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000


@pytest.fixture
def wire() -> Iterator[Wire]:
    with laid() as wire:
        yield wire


@pytest.fixture
def net() -> Iterator[Net]:
    needs_root()
    needs_program("ip")
    net = Net()
    yield net
    net.close()


@contextmanager
def capturing(net: Net, interface: str, expression: str = "", size: int = SMALL) -> Iterator[Ring]:
    with net.entered():
        ring = Ring(interface, size)
        try:
            if expression:
                needs_filters()
                ring.attach(compile_filter(expression, None if ring.is_cooked else interface))
            ring.start()
        except BaseException:
            ring.close()
            raise
    try:
        yield ring
    finally:
        ring.close()


def needs_filters() -> None:
    try:
        compile_filter("ip", None)
    except CaptureError as error:
        cannot_run(str(error))


def taken(ring: Ring) -> list[bytes]:
    """Give the frames that are in the ring."""
    frames = []
    for batch in ring.blocks.take():
        frames += [bytes(batch.buffer[begin:end]) for _, _, begin, end, missing in batch.packets()]
    ring.blocks.release()
    return frames


def hear(ring: Ring, count: int) -> list[bytes]:
    """Wait for so many frames; then make sure that there are no more."""
    frames: list[bytes] = []
    deadline = time.monotonic() + DEADLINE_S
    with select.epoll() as epoll:
        epoll.register(ring.fileno(), select.EPOLLIN)
        while len(frames) < count and time.monotonic() < deadline:
            epoll.poll(1)
            frames += taken(ring)
        ring.stop()
        while not ring.blocks.is_empty and time.monotonic() < deadline:
            epoll.poll(0.1)
            frames += taken(ring)
    assert len(frames) == count, len(frames)
    return frames


def payloads(frames: list[bytes], link_type: int = ETHERNET) -> list[bytes]:
    """Give what the frames' datagrams say."""
    said = []
    for frame in frames:
        at = find_ip(link_type, frame, 0, len(frame))
        network = parse_network(frame, at, len(frame))
        assert network.protocol == ip.UDP
        said.append(bytes(udp.parse_datagram(frame[network.begin : network.end]).payload))
    return said


def test_the_loopback_interface_shows_each_packet_once(net: Net) -> None:
    with capturing(net, "lo") as ring, net.datagrams("127.0.0.1") as speaker:
        for number in range(5):
            speaker.sendto(b"%d" % number, ("127.0.0.1", 9))
        frames = hear(ring, 10)
    # Nobody listens: each is answered by an ICMP error.
    assert payloads([frame for frame in frames if frame[23] == ip.UDP]) == [b"0", b"1", b"2", b"3", b"4"]


def test_both_directions_of_a_wire_in_both_families(wire: Wire) -> None:
    with capturing(wire.there, "wire", "udp") as ring:
        for ours, theirs in ((HERE, THERE), ("fd00:77::1", THERE6)):
            with wire.here.datagrams(ours) as speaker, wire.there.datagrams(theirs) as hearer:
                speaker.sendto(b"question", hearer.getsockname())
                _, back = hearer.recvfrom(100)
                hearer.sendto(b"answer", back)
        frames = hear(ring, 4)
    assert payloads(frames) == [b"question", b"answer"] * 2


def test_a_filter_lets_nothing_else_in_not_even_before_it_is_there(wire: Wire) -> None:
    """Traffic runs all the time while the ring is set up."""
    needs_filters()
    with wire.here.datagrams(HERE) as speaker, wire.there.datagrams(THERE) as hearer, wire.there.entered():
        address, port = hearer.getsockname()
        ring = Ring("wire", SMALL)
        speaker.sendto(b"before the filter", (address, port))
        hearer.recv(100)
        ring.attach(compile_filter(f"udp port {port} and greater 100", "wire"))
        speaker.sendto(b"before the start", (address, port))
        hearer.recv(100)
        ring.start()
        for word in (b"short", b"long" * 50):
            speaker.sendto(word, (address, port))
            hearer.recv(1000)
        frames = hear(ring, 1)
        assert ring.counts().packets == 1
        ring.close()
    assert payloads(frames) == [b"long" * 50]


def test_a_filter_that_nobody_understands(net: Net) -> None:
    needs_filters()
    with net.entered():
        for interface in ("lo", None):
            with pytest.raises(
                UsageError, match=r"cannot understand the filter 'tcp prt 80': .*syntax error"
            ):
                compile_filter("tcp prt 80", interface)
        with pytest.raises(UsageError, match="only on ethernet"):
            compile_filter("ether host 1:2:3:4:5:6", None)


def test_what_a_filter_lets_through_is_not_cut_off() -> None:
    needs_filters()
    program = compile_filter("tcp port 80", None)
    returns = [program[at : at + 8] for at in range(0, len(program), 8) if program[at] == 6]
    assert {each[4:] for each in returns} == {bytes(4), b"\xff" * 4}


@pytest.mark.parametrize("tags", [(0x8100,), (0x88A8, 0x8100)])
def test_packets_of_a_vlan(wire: Wire, tags: tuple[int, ...]) -> None:
    """The kernel takes the outer tag out of the frame; libpcap's filters know where it is then."""
    packet = udp.emit_packet(socket.inet_aton("10.78.0.1"), 1, socket.inet_aton("10.78.0.2"), 2, b"tagged")
    inner = b"".join(struct.pack(">HH", kind, 5 + number) for number, kind in enumerate(tags))
    with capturing(wire.there, "wire", "vlan 5") as ring:
        speaker = raw(wire.here, "wire")
        for tag in (inner, inner[:2] + b"\0\x09" + inner[4:], b""):
            speaker.send(b"\xff" * 6 + bytes(6) + tag + b"\x08\0" + packet)
        speaker.close()
        frames = hear(ring, 1)
    assert payloads(frames) == [b"tagged"]
    assert len(frames[0]) == 14 + len(inner) - 4 + len(packet)


def raw(net: Net, interface: str) -> socket.socket:
    """Give a socket that sends frames as they are."""
    with net.entered():
        speaker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        speaker.bind((interface, 0))
    return speaker


def test_an_interface_without_a_link_header_is_read_from_its_ip_header_on(net: Net) -> None:
    needs_tun()
    with net.entered():
        tunnel = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(tunnel, TUNSETIFF, struct.pack("16sH22x", b"tunnel", IFF_TUN | IFF_NO_PI))
    net.ip("link", "set", "tunnel", "addrgenmode", "none", "up")
    ends = socket.inet_aton("10.79.0.1"), socket.inet_aton("10.79.0.2")
    with capturing(net, "tunnel", "udp port 2") as ring:
        assert ring.is_cooked
        for port in (2, 3):
            os.write(tunnel, udp.emit_packet(ends[0], 1, ends[1], port, b"for port %d" % port))
        frames = hear(ring, 1)
    os.close(tunnel)
    assert payloads(frames, RAW) == [b"for port 2"]


def test_offloaded_packets_are_whole_though_longer_than_the_mtu(wire: Wire) -> None:
    said = bytes(range(256)) * 4000
    with capturing(wire.there, "wire", "tcp port 7", 8 << 20) as ring:
        end = wire.say(7, said, b"")
        deadline = time.monotonic() + DEADLINE_S
        stream: dict[int, bytes] = {}
        longest = 0
        while sum(map(len, stream.values())) < len(said) and time.monotonic() < deadline:
            for frame in taken(ring):
                network = parse_network(frame, find_ip(ETHERNET, frame, 0, len(frame)), len(frame))
                segment = parse_segment(frame, network)
                assert not segment.missing
                if segment.key[8:10] == end[1].to_bytes(2, "big") and segment.end > segment.begin:
                    stream[segment.sequence] = frame[segment.begin : segment.end]
                    longest = max(longest, len(frame))
        assert ring.counts().drops == 0
    first = min(stream)
    assert b"".join(stream[at] for at in sorted(stream, key=lambda at: at - first & 0xFFFFFFFF)) == said
    assert longest > 1514


def test_what_the_kernel_has_no_room_for_is_counted(wire: Wire) -> None:
    with capturing(wire.there, "wire", "udp", SMALL) as ring:
        with wire.here.datagrams(HERE) as speaker:
            for number in range(1500):
                speaker.sendto(number.to_bytes(4, "big") + bytes(1400), (THERE, 9))
        frames = []
        ring.stop()
        deadline = time.monotonic() + DEADLINE_S
        while not ring.blocks.is_empty and time.monotonic() < deadline:
            frames += taken(ring)
        counts = ring.counts()
    assert counts.packets == 1500
    assert counts.drops > 0 and counts.drops + len(frames) == counts.packets
    assert [int.from_bytes(said[:4], "big") for said in payloads(frames)] == list(range(len(frames)))


@pytest.mark.parametrize("words", [("set", "wire", "down"), ("delete", "wire")])
def test_an_interface_that_goes_is_an_error_of_the_socket(wire: Wire, words: tuple[str, ...]) -> None:
    with capturing(wire.there, "wire") as ring, select.epoll() as epoll:
        epoll.register(ring.fileno(), select.EPOLLIN)
        wire.there.ip("link", *words)
        events = epoll.poll(DEADLINE_S)
        assert events and events[0][1] & select.EPOLLERR
        assert ring.take_error() == errno.ENETDOWN
        assert ring.take_error() == 0


def test_an_interface_that_is_down(wire: Wire) -> None:
    wire.there.ip("link", "set", "wire", "down")
    with (
        pytest.raises(CaptureError, match="cannot capture on wire: it is down"),
        capturing(wire.there, "wire"),
    ):
        pass


def test_a_small_request_is_a_small_ring(net: Net) -> None:
    with capturing(net, "lo", size=1) as ring, net.datagrams("127.0.0.1") as speaker:
        assert ring.size == 2 << 18
        speaker.sendto(bytes(60_000), ("127.0.0.1", 9))
        assert len(hear(ring, 2)[0]) == 14 + 28 + 60_000
