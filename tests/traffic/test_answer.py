"""The answerer behind a router whose devices are datagram sockets. Clients and servers are the host's own
sockets on loopback addresses: what they do is real, only their SYNs are said by hand."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from netplayground.packet import ip, tcp, virtio
from netplayground.traffic.answer import Answer, Answerer
from netplayground.traffic.doors import IDLE_DOORS
from netplayground.traffic.forwarder import Forwarder
from netplayground.traffic.line import Line
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.router import Router

_DEADLINE_S = 20.0
A, B = IPv4Address("127.53.0.1"), IPv4Address("127.53.0.2")
NOBODY = IPv4Address("127.53.0.99")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Guest:
    """Who is at the tape's end: remembers what it was told, has the line."""

    def __init__(self, stage: Stage) -> None:
        self.told: list[str] = []
        self.bytes = bytearray()
        self.line: Line | None = None
        self._stage = stage
        self.answer: bytes = b""

    def connected(self, line: Line) -> None:
        self._hear("connected")
        self.line = line
        if self.answer:
            os.pwrite(self._stage.file, self.answer, 0)
            line.give(0, len(self.answer))

    def failed(self) -> None:
        self._hear("failed")

    def said(self, data: memoryview) -> None:
        self._hear("said")
        self.bytes += data

    def fin(self) -> None:
        self._hear("fin")

    def reset(self) -> None:
        self._hear("reset")

    def drained(self) -> None:
        self._hear("drained")

    def closed(self) -> None:
        self._hear("closed")

    def _hear(self, what: str) -> None:
        assert not self._stage.is_asking, f"{what} from within a call"
        self.told.append(what)


class Stage:
    """Two processes, the proxy, a router and an answerer; the stage itself says what a SYN meets."""

    def __init__(self, folder: Path, capacity: int = 100) -> None:
        self.loop = Loop()
        self.file = os.open(folder / "tape", os.O_RDWR | os.O_CREAT)
        self.pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(3)]
        for pair in self.pairs:
            for sock in pair:
                sock.setblocking(False)
        fds = [routers.fileno() for routers, _ in self.pairs]
        self.links = [Link("a", fds[0], [A], 1), Link("b", fds[1], [B], 2)]
        proxy = Link("proxy", fds[2], ())
        self.asked: list[tuple[str, bytes, int]] = []
        self.answers: list[tuple[Answer, Guest | None]] = []
        self.said: list[str] = []
        self.is_asking = False
        self.workspace = Workspace(self.loop, self.file)
        self.answerer = Answerer(self.workspace, proxy, 1, self, capacity, self.said.append)
        self.router = Router(
            self.loop, self.links, proxy, self.answerer, IPv4Network("127.53.0.0/24"), Forwarder()
        )

    def answer(self, client: Link, server: bytes, port: int) -> tuple[Answer, Guest | None]:
        self.asked.append((client.name, server, port))
        return self.answers.pop(0)

    def expect(self, count: int = 1) -> list[Guest]:
        """The next SYNs are accepted."""
        guests = [Guest(self) for _ in range(count)]
        self.answers += [(Answer.ACCEPT, guest) for guest in guests]
        return guests

    def say(self, packet: bytes, process: int = 0) -> list[bytes]:
        """What the process hears after it has said this."""
        self.pairs[process][1].send(virtio.PLAIN + packet)
        self.turn()
        return self.heard(process)

    def heard(self, process: int) -> list[bytes]:
        """The packets that came, without their virtio headers."""
        packets = []
        while True:
            try:
                packets.append(self.pairs[process][1].recv(70_000)[virtio.HEADER_LENGTH :])
            except BlockingIOError:
                return packets

    def turn(self, rounds: int = 3) -> None:
        for _ in range(rounds):
            self.loop.again(self.loop.stop)
            self.loop.run()

    def serve(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _DEADLINE_S

        def look() -> None:
            if holds():
                self.loop.stop()
            else:
                assert time.monotonic() < deadline
                self.loop.call_after(0.001, look)

        look()
        self.loop.run()

    def connect(self, guest: Guest, port: int, client_port: int = 0) -> None:
        """Connect to process b in place of process a, as a player asks: which may not be called back."""
        self.is_asking = True
        self.answerer.connect(A.packed, client_port, B.packed, port, guest)
        self.is_asking = False

    def close(self) -> None:
        self.answerer.close()
        self.router.close()
        self.loop.close()
        os.close(self.file)
        for pair in self.pairs:
            for sock in pair:
                sock.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    before = _open_descriptors()
    stood = Stage(tmp_path)
    yield stood
    stood.close()
    assert _open_descriptors() == before


@pytest.fixture
def client() -> Iterator[socket.socket]:
    sock = _client()
    yield sock
    sock.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server((str(B), 0)) as sock:
        sock.settimeout(_DEADLINE_S)
        yield sock


def syn(source_port: int, port: int, sequence: int = 1, target: IPv4Address = B) -> bytes:
    return _segment(tcp.SYN, source_port, port, sequence, target)


def _segment(flags: int, source_port: int, port: int, sequence: int, target: IPv4Address = B) -> bytes:
    segment = struct.pack(">HHIIBBHHH", source_port, port, sequence, 0, 5 << 4, flags, 1000, 0, 0)
    return ip.emit_header(A.packed, target.packed, ip.TCP, len(segment)) + segment


def test_a_client_that_is_accepted_meets_its_guest(stage: Stage, client: socket.socket) -> None:
    (guest,) = stage.expect()
    guest.answer = b"220 ready"
    port = _connect(stage, client)
    assert stage.asked == [("a", B.packed, port)]
    stage.serve(lambda: guest.told == ["connected"])
    assert client.recv(100) == b"220 ready"
    client.send(b"HELO")
    stage.serve(lambda: guest.bytes == b"HELO")
    assert stage.answerer.attempts == {}
    assert stage.answerer.open_count == 1


def test_a_refusal_is_a_reset_to_the_syn(stage: Stage) -> None:
    stage.answers = [(Answer.REFUSE, None)]
    (answer,) = stage.say(syn(40_000, 80))
    packet = ip.parse_packet(answer)
    segment = tcp.parse_segment(packet.payload)
    assert (packet.source, segment.flags) == (B.packed, tcp.RST | tcp.ACK)
    assert segment.acknowledgement == 2
    assert stage.heard(2) == []
    assert stage.answerer.open_count == 0


def test_unreachable_is_said_by_icmp_from_the_address_itself(stage: Stage) -> None:
    stage.answers = [(Answer.UNREACHABLE, None)]
    (answer,) = stage.say(syn(40_000, 80, target=NOBODY))
    packet = ip.parse_packet(answer)
    assert (packet.protocol, packet.source, packet.payload[0]) == (ip.ICMP, NOBODY.packed, 3)
    assert stage.answerer.open_count == 0


def test_silence_is_asked_for_once_however_often_the_syn_comes(stage: Stage) -> None:
    stage.answers = [(Answer.SILENCE, None)]
    for _ in range(4):
        assert stage.say(syn(40_000, 80)) == []
    assert len(stage.asked) == 1
    assert stage.heard(2) == []


def test_a_client_that_met_silence_may_ask_again_from_the_same_port(stage: Stage) -> None:
    stage.answers = [(Answer.SILENCE, None), (Answer.REFUSE, None)]
    assert stage.say(syn(40_000, 80, sequence=1)) == []
    assert len(stage.say(syn(40_000, 80, sequence=99))) == 1
    assert len(stage.asked) == 2
    assert stage.answerer.open_count == 0


def test_a_syn_that_comes_again_goes_again_and_is_not_asked_about(stage: Stage) -> None:
    stage.expect()
    port = _free_port()
    for _ in range(3):
        assert stage.say(syn(40_000, port)) == []
    assert len(stage.asked) == 1
    assert stage.heard(2) == [syn(40_000, port)] * 3


def test_a_client_that_gives_up_before_its_connection_stands_has_failed_once(stage: Stage) -> None:
    (guest,) = stage.expect()
    port = _free_port()
    stage.say(syn(40_000, port))
    reset = _segment(tcp.RST, 40_000, port, 2)
    stage.say(reset)
    stage.say(reset)
    assert guest.told == ["failed"]
    assert stage.heard(2) == [syn(40_000, port), reset, reset]
    assert (stage.answerer.open_count, stage.answerer.attempts) == (0, {})


def test_a_client_that_aborts_before_accept_was_called_has_spoken(
    stage: Stage, client: socket.socket
) -> None:
    """Its SYN, ACK, bytes and RST may all be there before epoll tells of the first."""
    (guest,) = stage.expect()
    port = _free_port()
    client.bind((str(A), 0))
    source_port = client.getsockname()[1]
    stage.say(syn(source_port, port))
    client.connect((str(B), port))
    client.send(b"just this")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.close()
    stage.answerer.on_packet_of_process(
        stage.links[0],
        (A.packed, B.packed, source_port, port),
        tcp.RST,
        memoryview(virtio.PLAIN + _segment(tcp.RST, source_port, port, 11)),
    )
    stage.serve(lambda: guest.told[-1:] == ["reset"])
    assert guest.told == ["connected", "said", "reset"]
    assert guest.bytes == b"just this"


def test_a_reset_of_the_connection_before_ends_nothing(stage: Stage) -> None:
    """A client that has used its port again answers the last ACK of the connection before."""
    (guest,) = stage.expect()
    port = _free_port()
    stage.say(syn(40_000, port, sequence=9_000))
    for sequence in (1_000, 9_000, 9_000 + (1 << 31)):
        stage.say(_segment(tcp.RST, 40_000, port, sequence))
    assert guest.told == []
    assert len(stage.answerer.attempts) == 1
    stage.say(_segment(tcp.RST, 40_000, port, 9_001))
    assert guest.told == ["failed"]


def test_a_client_may_use_its_port_again_at_once_after_an_abort(stage: Stage, client: socket.socket) -> None:
    first, second = stage.expect(2)
    port = _connect(stage, client)
    source_port = client.getsockname()[1]
    client.send(b"first")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.close()
    # Its next SYN is there before anything of the first connection was looked at.
    stage.say(syn(source_port, port, sequence=5_000))
    assert (first.told, bytes(first.bytes)) == (["connected", "said", "reset"], b"first")
    assert len(stage.asked) == 2
    with _client() as again:
        again.bind((str(A), source_port))
        again.connect((str(B), port))
        again.send(b"second")
        stage.serve(lambda: second.bytes == b"second")


def test_a_client_may_use_its_port_again_at_once_after_an_orderly_close(
    stage: Stage, client: socket.socket
) -> None:
    first, _second = stage.expect(2)
    port = _connect(stage, client)
    source_port = client.getsockname()[1]
    stage.serve(lambda: first.line is not None)
    assert first.line is not None
    first.line.fin()
    client.shutdown(socket.SHUT_WR)
    client.close()
    stage.say(syn(source_port, port, sequence=5_000))
    assert first.told == ["connected", "fin", "closed"]
    assert len(stage.asked) == 2


def test_a_syn_on_a_connection_that_stands_is_the_kernels_affair(stage: Stage, client: socket.socket) -> None:
    (guest,) = stage.expect()
    port = _connect(stage, client)
    stage.serve(lambda: guest.told == ["connected"])
    stage.heard(2)
    stray = syn(client.getsockname()[1], port, sequence=77)
    assert stage.say(stray) == []
    assert stage.heard(2) == [stray]
    assert len(stage.asked) == 1


def test_who_comes_through_a_door_and_is_not_expected_is_sent_away(stage: Stage) -> None:
    stage.expect()
    port = _free_port()
    stage.say(syn(40_000, port))
    with _client() as stranger:
        stranger.connect((str(B), port))
        stage.turn()
        with pytest.raises(ConnectionResetError):
            stranger.recv(1)


def test_more_clients_than_there_is_room_for_are_refused_and_it_is_said_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, _CAPACITY_OF_ONE)
    stage.answers = [(Answer.SILENCE, None)]
    stage.say(syn(1, 80))
    for source_port in range(2, 5):
        (answer,) = stage.say(syn(source_port, 80))
        assert tcp.parse_segment(ip.parse_packet(answer).payload).flags & tcp.RST
    assert stage.answerer.refused_for_room == 3
    assert stage.said == ["no descriptors for more than 0 connections at once: refusing the next"]
    stage.close()


def test_no_descriptor_for_a_door_refuses_the_client_and_its_guest_has_failed(stage: Stage) -> None:
    (guest,) = stage.expect()
    with _no_descriptors():
        (answer,) = stage.say(syn(40_000, 61_234))
    assert tcp.parse_segment(ip.parse_packet(answer).payload).flags & tcp.RST
    stage.turn()
    assert guest.told == ["failed"]
    assert stage.answerer.open_count == 0


def test_a_live_server_is_connected_to_from_its_clients_address_and_port(
    stage: Stage, server: socket.socket
) -> None:
    guest = Guest(stage)
    guest.answer = b"GET"
    client_port = _free_port(A)
    stage.connect(guest, server.getsockname()[1], client_port)
    assert stage.workspace.has_sent
    stage.serve(lambda: guest.told == ["connected"])
    sock, peer = server.accept()
    with sock:
        assert peer == (str(A), client_port)
        assert sock.recv(100) == b"GET"
        sock.send(b"200")
        stage.serve(lambda: guest.bytes == b"200")


def test_a_server_that_is_not_up_has_failed_in_a_later_round(stage: Stage) -> None:
    guests = [Guest(stage) for _ in range(200)]
    for guest in guests:
        stage.connect(guest, _PORT_OF_NOBODY)
        assert guest.told == []
    stage.serve(lambda: stage.answerer.open_count == 0)
    assert all(guest.told == ["failed"] for guest in guests)
    assert stage.said == []


def test_the_same_four_numbers_twice_take_another_port(stage: Stage, server: socket.socket) -> None:
    guests = [Guest(stage), Guest(stage)]
    client_port = _free_port(A)
    for guest in guests:
        stage.connect(guest, server.getsockname()[1], client_port)
    stage.serve(lambda: all(guest.told == ["connected"] for guest in guests))
    ports = []
    for _ in guests:
        sock, peer = server.accept()
        sock.close()
        ports.append(peer[1])
    assert client_port in ports
    assert len(set(ports)) == 2


def test_no_descriptors_for_a_connect_is_said_and_it_is_tried_again_later(
    stage: Stage, server: socket.socket
) -> None:
    guest = Guest(stage)
    with _no_descriptors():
        for _ in range(3):
            stage.connect(guest, server.getsockname()[1])
        stage.turn()
    assert guest.told == ["failed"] * 3
    assert stage.said == ["no descriptors for more than 0 connections at once: the next waits"]
    stage.connect(guest, server.getsockname()[1])
    stage.serve(lambda: guest.told[-1] == "connected")


def test_connects_beyond_the_room_wait(tmp_path: Path, server: socket.socket) -> None:
    stage = Stage(tmp_path, _CAPACITY_OF_ONE + 1)
    guests = [Guest(stage) for _ in range(5)]
    for guest in guests:
        stage.connect(guest, server.getsockname()[1])
    stage.serve(lambda: all(guest.told for guest in guests))
    assert sorted(guest.told[0] for guest in guests) == ["connected"] * 3 + ["failed"] * 2
    stage.close()


def test_an_address_that_is_not_here_has_failed(stage: Stage) -> None:
    guest = Guest(stage)
    stage.answerer.connect(IPv4Address("203.0.113.7").packed, 1000, B.packed, _PORT_OF_NOBODY, guest)
    stage.turn()
    assert guest.told == ["failed"]


@pytest.mark.parametrize("says", [b"", b"goodbye"])
def test_a_server_that_accepts_and_aborts_at_once_was_connected(
    stage: Stage, server: socket.socket, says: bytes
) -> None:
    """It is not asked again: it would see one connection more than recorded."""
    guest = Guest(stage)
    stage.connect(guest, server.getsockname()[1])
    sock, _ = server.accept()
    sock.send(says)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    sock.close()
    stage.serve(lambda: guest.told[-1:] == ["reset"])
    assert guest.told == ["connected", *(["said"] if says else []), "reset"]
    assert guest.bytes == says
    assert stage.answerer.open_count == 0


def test_a_server_that_speaks_and_closes_at_once_is_heard(stage: Stage, server: socket.socket) -> None:
    guest = Guest(stage)
    stage.connect(guest, server.getsockname()[1])
    sock, _ = server.accept()
    sock.send(b"goodbye")
    sock.close()
    stage.serve(lambda: guest.told[-1:] == ["fin"])
    assert guest.told == ["connected", "said", "fin"]


def test_whoever_has_said_its_last_byte_is_not_waited_for(stage: Stage, client: socket.socket) -> None:
    (guest,) = stage.expect()
    _connect(stage, client)
    stage.serve(lambda: guest.told == ["connected"])
    assert stage.answerer.open_count == 1
    client.shutdown(socket.SHUT_WR)
    stage.serve(lambda: guest.told == ["connected", "fin"])
    assert stage.answerer.open_count == 0


def test_the_end_of_a_run_closes_all_and_tells_nobody(
    stage: Stage, client: socket.socket, server: socket.socket
) -> None:
    (guest, waiting) = stage.expect(2)
    _connect(stage, client)
    stage.serve(lambda: guest.told == ["connected"])
    stage.say(syn(40_000, _free_port()))
    connecting = Guest(stage)
    stage.connect(connecting, server.getsockname()[1])
    stage.answerer.close()
    assert (guest.told, waiting.told, connecting.told) == (["connected"], [], [])


_PORT_OF_NOBODY = 1  # tcpmux
_CAPACITY_OF_ONE = -IDLE_DOORS // 2  # beside doors, which keep a room of their own


def _connect(stage: Stage, client: socket.socket) -> int:
    """Say a client's SYN, and let its real connection follow through the door."""
    port = _free_port()
    client.bind((str(A), 0))
    stage.say(syn(client.getsockname()[1], port))
    client.connect((str(B), port))
    return port


def _client() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.settimeout(_DEADLINE_S)
    return sock


def _free_port(address: IPv4Address = B) -> int:
    with socket.socket() as sock:
        sock.bind((str(address), 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def _no_descriptors() -> Iterator[None]:
    """The next descriptor cannot be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
