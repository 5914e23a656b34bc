"""Connection set-up: a client's SYN is held until its server has answered, then let go, so that connect()
behaves as if the playground were not there.

States of an attempt, from the SYN of a new connection to the pipe:

    CONNECTING  the SYN is held; the proxy connects onward, from the client's own address and port RELEASED
    the server has said SYN-ACK; the SYN is written into the proxy namespace, where a listener waits AGREED
    the client has said its ACK: accept() will give the pipe's other socket

Refused: the router answers with RST. Unreachable: with ICMP. No answer: with silence. What keeps the server
from seeing more than it would without us:

- The proxy's kernel would repeat its own SYN as long as it likes. Each SYN of the client is leave for one
  SYN onward, so a client that has given up (it says nothing then) stops the onward connect too.
- The proxy's last ACK is held until AGREED. A client that is gone by then answers our SYN-ACK with RST;
  that RST goes to the server in place of the ACK, and its accept() never returns a connection that nobody
  has.

A listener stays for the next SYN (they are all held, so it answers only those let go); the least used goes
first.
"""

from __future__ import annotations

import errno
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping
from select import EPOLLIN
from typing import Protocol

from netplayground.packet import icmp, tcp, virtio
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import END_EVENTS, RESET_ON_CLOSE, Pipe, PipeListener, Workspace

Key = tuple[bytes, bytes, int, int]  # client address, server address (packed), client port, server port

CONNECTING, RELEASED, AGREED = range(3)

_SYN_ACK_RST = tcp.SYN | tcp.ACK | tcp.RST
_IDLE_LISTENERS = 64
_VIRTIO = virtio.HEADER_LENGTH
_IPV6_TRANSPARENT = 75  # linux/in6.h; the socket module does not name it
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


class ConnectionListener(PipeListener, Protocol):
    """Hears how a connection came to be, then what its pipe does."""

    def syn(self) -> None:
        """The client asks."""

    def established(self) -> None:
        """Both agree."""

    def refused(self) -> None:
        """The server said no."""

    def unreachable(self) -> None:
        """Nobody has that address."""

    def unanswered(self) -> None:
        """Nobody said anything."""

    def aborted(self) -> None:
        """The client gave up before both agreed."""


ListenerFactory = Callable[[int, bytes, int, bytes, int], ConnectionListener]


class Attempt:
    """One connection that is not one yet."""

    __slots__ = (
        "client",
        "held_ack",
        "held_syn",
        "key",
        "leave",
        "listener",
        "server",
        "sock",
        "state",
        "syn",
    )

    def __init__(
        self, key: Key, client: Link, server: Link, syn: bytes, listener: ConnectionListener
    ) -> None:
        self.key = key
        self.client = client
        self.server = server
        self.syn = syn  # the client's, virtio header and all
        self.listener = listener
        self.state = CONNECTING
        self.leave = 1  # SYNs that may go onward
        self.held_syn: bytes | None = None  # the proxy's, that came before its leave
        self.held_ack: bytes | None = None
        self.sock: socket.socket | None = None


class Door:
    """A listening socket on exactly the address and port that clients ask for."""

    __slots__ = ("expected", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.expected: dict[
            tuple[str, int], Attempt
        ] = {}  # by the client's address and port, as accept() says it


class Connector:
    """Turns SYNs into pipes. The router asks it about every packet of an attempt, and only about those."""

    def __init__(
        self,
        workspace: Workspace,
        proxy: Link,
        links: Mapping[bytes, Link],
        new_listener: ListenerFactory,
        capacity: int,
        say: Callable[[str], None],
    ) -> None:
        self.attempts: dict[Key, Attempt] = {}
        self.refused_for_room = 0
        self._open: dict[Key, Pipe] = {}
        self._workspace = workspace
        self._loop: Loop = workspace.loop
        self._proxy = proxy
        self._links = links
        self._new_listener = new_listener
        self._capacity = capacity
        self._say = say
        self._doors: OrderedDict[tuple[bytes, int], Door] = OrderedDict()

    # What the router asks: every packet of TCP while there are attempts, and every SYN.

    def on_packet_of_process(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """A process says something: of an attempt, the SYN of a new one, or of a connection that stands."""
        if flags & _SYN_ACK_RST == tcp.SYN:
            self._on_syn(link, key, frame)
            return
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.state != AGREED:
            if flags & tcp.RST:
                self._give_up(attempt)
            elif attempt.state == RELEASED:
                attempt.state = AGREED
                if attempt.held_ack is not None:
                    attempt.server.write(attempt.held_ack)
        self._proxy.write(frame)

    def on_packet_of_proxy(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """The proxy says something to the process of `link`: as an attempt's client, or of what stands."""
        attempt = self.attempts.get(key)
        if attempt is None or attempt.state == AGREED or flags & tcp.RST:
            link.write(frame)
        elif not flags & tcp.SYN:
            attempt.held_ack = bytes(frame)
        elif attempt.leave:
            attempt.leave -= 1
            link.write(frame)
        else:
            attempt.held_syn = bytes(frame)

    def _on_syn(self, client: Link, key: Key, frame: memoryview) -> None:
        """The first SYN of a connection, or one of its repetitions."""
        attempt = self.attempts.get(key)
        if attempt is not None and not _same_syn(attempt.syn, frame):
            self._give_up(attempt)  # the port serves a new connection: the old one is not asked for any more
            attempt = None
        if attempt is not None:
            self._on_repeated_syn(attempt, frame)
        elif key in self._open:
            self._proxy.write(frame)  # as on a wire: the kernel's challenge ACK finds out whose mistake it is
        else:
            self._begin(client, key, bytes(frame))

    def close(self) -> None:
        """The run is over: end what is open or under way, without a word to the processes."""
        for attempt in list(self.attempts.values()):
            if attempt.state == CONNECTING:
                attempt.listener.unanswered()
                self._forget(attempt)
            else:
                self._give_up(attempt)
        for door in self._doors.values():
            door.sock.close()
        for pipe in self._open.values():
            for end in pipe.ends:
                end.sock.close()

    @property
    def open_count(self) -> int:
        """Connections that are open or under way."""
        return len(self._open) + len(self.attempts)

    # From SYN to SYN-ACK.

    def _begin(self, client: Link, key: Key, syn: bytes) -> None:
        client_address, server_address, client_port, server_port = key
        family = _family(client_address)
        listener = self._new_listener(family, client_address, client_port, server_address, server_port)
        listener.syn()
        server = self._links.get(server_address)
        if server is None or server is client:
            listener.unreachable()
            client.send(icmp.emit_unreachable(memoryview(syn)[_VIRTIO:]))
        elif self.open_count >= self._capacity:
            self._refuse_for_room(client, syn, listener)
        else:
            attempt = Attempt(key, client, server, syn, listener)
            self.attempts[key] = attempt
            self._connect_onward(attempt, family)

    def _refuse_for_room(self, client: Link, syn: bytes, listener: ConnectionListener) -> None:
        if not self.refused_for_room:
            self._say(
                f"no descriptors for more than {self._capacity} connections at once: refusing the next ones"
            )
        self.refused_for_room += 1
        listener.note("no-room")
        listener.refused()
        client.send(tcp.emit_reset_to_syn(memoryview(syn)[_VIRTIO:]))

    def _connect_onward(self, attempt: Attempt, family: int) -> None:
        client_address, server_address, client_port, server_port = attempt.key
        sock = _new_socket(family)
        attempt.sock = sock
        self._loop.add(sock.fileno(), END_EVENTS, lambda _events: self._on_onward_answer(attempt))
        try:
            sock.bind((socket.inet_ntop(family, client_address), client_port))
            error = sock.connect_ex((socket.inet_ntop(family, server_address), server_port))
        except OSError as refusal:
            error = refusal.errno or errno.EINVAL
        if error not in (0, errno.EINPROGRESS):
            self._on_no(attempt, error)

    def _on_repeated_syn(self, attempt: Attempt, frame: memoryview) -> None:
        if attempt.state != CONNECTING:
            self._proxy.write(frame)  # the listener's kernel had no room for the first one
        elif attempt.held_syn is not None:
            attempt.server.write(attempt.held_syn)
            attempt.held_syn = None
        else:
            attempt.leave = 1

    def _on_onward_answer(self, attempt: Attempt) -> None:
        if attempt.state != CONNECTING or attempt.sock is None:
            return  # an event of the pipe to come: it asks epoll again
        error = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._on_no(attempt, error)
        else:
            self._release(attempt)

    def _on_no(self, attempt: Attempt, error: int) -> None:
        """The onward connect failed: let the client meet the same failure."""
        if error == errno.ECONNREFUSED:
            attempt.listener.refused()
            attempt.client.send(tcp.emit_reset_to_syn(memoryview(attempt.syn)[_VIRTIO:]))
        elif error in _UNREACHABLE:
            attempt.listener.unreachable()
            attempt.client.send(icmp.emit_unreachable(memoryview(attempt.syn)[_VIRTIO:]))
        else:
            # ETIMEDOUT; or EADDRNOTAVAIL: an earlier connection of the same two ports still lingers in the
            # proxy, where a server would not have answered either. The client asks again, or not.
            attempt.listener.unanswered()
        self._forget(attempt)

    # From SYN-ACK to the pipe.

    def _release(self, attempt: Attempt) -> None:
        client_address, server_address, client_port, server_port = attempt.key
        family = _family(client_address)
        door = self._door(family, server_address, server_port)
        door.expected[socket.inet_ntop(family, client_address), client_port] = attempt
        attempt.state = RELEASED
        self._proxy.write(attempt.syn)

    def _door(self, family: int, address: bytes, port: int) -> Door:
        """The listener on this address and port, made when there is none."""
        door = self._doors.get((address, port))
        if door is not None:
            self._doors.move_to_end((address, port))
            return door
        sock = _new_socket(family)
        sock.bind((socket.inet_ntop(family, address), port))
        sock.listen(socket.SOMAXCONN)
        door = self._doors[address, port] = Door(sock)
        self._loop.add(sock.fileno(), EPOLLIN, lambda _events: self._on_acceptable(door))
        self._close_an_idle_door()
        return door

    def _close_an_idle_door(self) -> None:
        if len(self._doors) > _IDLE_LISTENERS:
            for place, door in self._doors.items():
                if not door.expected and place != next(reversed(self._doors)):
                    del self._doors[place]
                    self._loop.close_later(door.sock.fileno(), door.sock)
                    return

    def _on_acceptable(self, door: Door) -> None:
        try:
            sock, peer = door.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        sock.setblocking(False)
        attempt = door.expected.pop(peer[:2], None)
        if attempt is None:  # one that was given up in the meantime
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
        else:
            self._make_pipe(attempt, sock)

    def _make_pipe(self, attempt: Attempt, client_sock: socket.socket) -> None:
        onward = attempt.sock
        assert onward is not None
        key = attempt.key
        del self.attempts[key]
        attempt.listener.established()
        pipe = Pipe(
            self._workspace, attempt.listener, client_sock, onward, lambda _pipe: self._on_pipe_closed(key)
        )
        self._open[key] = pipe
        client_end, server_end = pipe.ends
        self._loop.add(client_sock.fileno(), END_EVENTS, client_end.on_events)
        self._loop.change(onward.fileno(), END_EVENTS, server_end.on_events)

    def _on_pipe_closed(self, key: Key) -> None:
        del self._open[key]

    # Giving up.

    def _give_up(self, attempt: Attempt) -> None:
        """The client is gone before both agreed: the server must not see a connection that nobody has."""
        attempt.listener.aborted()
        if attempt.sock is not None:
            attempt.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        # Its last packet, the RST, leaves when the socket is closed; by then the router knows nothing of the
        # attempt and passes it on, as it should.
        self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        client_address, server_address, client_port, server_port = attempt.key
        self.attempts.pop(attempt.key, None)
        door = self._doors.get((server_address, server_port))
        if door is not None:
            family = _family(client_address)
            door.expected.pop((socket.inet_ntop(family, client_address), client_port), None)
        if attempt.sock is not None:
            self._loop.close_later(attempt.sock.fileno(), attempt.sock)
            attempt.sock = None


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _new_socket(family: int) -> socket.socket:
    """A TCP socket that may use any process's address and port, also those that another socket here uses."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # accept() passes these on
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    return sock


def _same_syn(first: bytes, second: memoryview) -> bool:
    """Whether two SYNs of the same ports are one, repeated: it keeps its sequence number."""
    start = _VIRTIO + (first[_VIRTIO] & 0x0F) * 4 if first[_VIRTIO] >> 4 == 4 else _VIRTIO + 40
    return first[start + 4 : start + 8] == second[start + 4 : start + 8]
