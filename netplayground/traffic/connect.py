"""Connection set-up: a client's SYN is held until its server has answered, then let go, so that connect()
behaves as if the playground were not there.

States of an attempt, from the SYN of a new connection to the pipe:

    CONNECTING  the SYN is held; the proxy connects onward, from the client's own address and port
    RELEASED    the server has said SYN-ACK; the SYN is written into the proxy namespace, where a door waits
    AGREED      the client has said its ACK: accept() will give the pipe's other socket

Refused: the router answers with RST. Unreachable: with ICMP. No answer: with silence. What keeps the server
from seeing more than it would without us:

- The proxy's kernel would repeat its own SYN as long as it likes. Each SYN of the client is leave for one
  SYN onward, so a client that has given up (it says nothing then) stops the onward connect too.
- The proxy's last ACK is held until AGREED. A client that is gone by then answers our SYN-ACK with RST;
  that RST goes to the server in place of the ACK, and its accept() never returns a connection that nobody
  has.

A client that has done with a connection may use its port again at once, before epoll has told us of the end:
then the old one is ended first, and the SYN comes again in the next round.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Mapping
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from netplayground.dump.model import CLIENT
from netplayground.packet import icmp, tcp, virtio
from netplayground.traffic.doors import IDLE_DOORS, Caller, Doors
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import END_EVENTS, Pipe, PipeListener, Workspace
from netplayground.traffic.sockets import OUT_OF_ROOM, family_of, new_socket, place_of
from netplayground.traffic.sweep import Sweep

Key = tuple[bytes, bytes, int, int]  # client address, server address (packed), client port, server port

CONNECTING, RELEASED, AGREED = range(3)

_SYN_ACK_RST = tcp.SYN | tcp.ACK | tcp.RST
_TCP_CLOSE = 7  # include/net/tcp_states.h
_ANSWERED = EPOLLOUT | EPOLLERR | EPOLLHUP
_RETRY_S = 0.002
_MOST_RETRIES = 100
_VIRTIO = virtio.HEADER_LENGTH
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
        "began",
        "client",
        "family",
        "from_place",
        "held_ack",
        "held_syn",
        "key",
        "leave",
        "listener",
        "retries",
        "server",
        "sock",
        "state",
        "syn",
        "to_place",
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
        self.retries = 0
        self.began = time.monotonic()

    def set_places(self, tun_index: int) -> None:
        """Addresses as the socket module takes them."""
        client_address, server_address, client_port, server_port = self.key
        self.family = family_of(client_address)
        self.from_place = place_of(client_address, client_port, tun_index)
        self.to_place = place_of(server_address, server_port, tun_index)

    @property
    def caller(self) -> Caller:
        """The client, as accept() says it."""
        return self.from_place[:2]


class Connector:
    """Turns SYNs into pipes. The router asks it about every packet of an attempt, and only about those."""

    def __init__(
        self,
        workspace: Workspace,
        proxy: Link,
        tun_index: int,
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
        self._tun_index = tun_index
        self._links = links
        self._new_listener = new_listener
        self._capacity = capacity
        self._say = say
        self._doors: Doors[Attempt] = Doors(self._loop, new_socket, self._make_pipe, self._give_up)
        self._sweep = Sweep(self._loop, self.attempts, self._give_up)

    # What the router asks: every packet of TCP while there are attempts, and every SYN.

    def on_packet_of_process(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """A process says something: of an attempt, the SYN of a new one, or of a connection that stands."""
        if flags & _SYN_ACK_RST == tcp.SYN:
            self._on_syn(link, key, frame)
            return
        attempt = self.attempts.get(key)
        if attempt is not None and attempt.state == RELEASED:
            if flags & tcp.RST:
                if follows_syn(attempt.syn, frame):
                    self._give_up(attempt)
            else:
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

    def _on_syn(self, client: Link, key: Key, frame: memoryview, put_off: bool = False) -> None:
        """The first SYN of a connection, or one of its repetitions; `put_off`: it has waited a round."""
        attempt = self.attempts.get(key)
        if attempt is not None and is_same_syn(attempt.syn, frame):
            self._on_repeated_syn(attempt, frame)
            return
        if attempt is None and key not in self._open:
            self._begin(client, key, bytes(frame))
        elif put_off:
            return  # still not over: the client's kernel asks again
        elif self._is_over_for_client(key, attempt):
            # Its sockets are closed at the end of this round; then the same four numbers are free again.
            again = bytes(frame)
            self._loop.again(lambda: self._on_syn(client, key, memoryview(again), put_off=True))
        else:
            self._proxy.write(frame)  # as on a wire: the kernel's challenge ACK finds out whose mistake it is

    def _is_over_for_client(self, key: Key, attempt: Attempt | None) -> bool:
        """Whether the client has done with the connection of this key, and uses its port again at once."""
        if attempt is not None:
            if attempt.state == AGREED:
                self._doors.admit(attempt.to_place)  # it is a connection, which epoll would tell us of soon
            if key in self.attempts:
                self._give_up(attempt)
        pipe = self._open.get(key)
        if pipe is None:
            return True
        client_end = pipe.ends[CLIENT]
        if client_end.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_CLOSE:
            return False
        client_end.on_events(
            EPOLLIN | EPOLLERR
        )  # what epoll has not told yet: its last bytes, its FIN or RST
        return True

    def close(self) -> None:
        """The run is over: end what is open or under way, without a word to the processes."""
        for attempt in list(self.attempts.values()):
            if attempt.state == CONNECTING:
                attempt.listener.unanswered()
                self._forget(attempt)
            else:
                self._give_up(attempt)
        self._doors.close()
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
        family = family_of(client_address)
        listener = self._new_listener(family, client_address, client_port, server_address, server_port)
        listener.syn()
        server = self._links.get(server_address)
        if server is None or server is client:
            listener.unreachable()
            client.send(icmp.emit_unreachable(memoryview(syn)[_VIRTIO:]))
            return
        attempt = Attempt(key, client, server, syn, listener)
        attempt.set_places(self._tun_index)
        self.attempts[key] = attempt
        if (server_address, client_address, server_port, client_port) in self.attempts:
            # Two SYNs that cross. Here they would always cross, because they are held; on a wire hardly ever:
            # the one that comes first meets a closed port.
            self._on_no(attempt, errno.ECONNREFUSED)
        elif self._has_room():
            self._connect_onward(attempt)
            self._sweep.later()
        else:
            self._refuse_for_room(attempt)

    def _has_room(self) -> bool:
        """Whether two more sockets, and perhaps a door, can be had."""
        taken = 2 * len(self._open) + 2 * len(self.attempts) + len(self._doors)
        return taken <= 2 * self._capacity + IDLE_DOORS

    def _refuse_for_room(self, attempt: Attempt) -> None:
        if not self.refused_for_room:
            self._say(
                f"no descriptors for more than {self.open_count - 1} connections at once: refusing the next"
            )
        self.refused_for_room += 1
        attempt.listener.note("no-room")
        self._on_no(attempt, errno.ECONNREFUSED)

    def _connect_onward(self, attempt: Attempt) -> None:
        try:
            if attempt.sock is None:
                attempt.sock = new_socket(attempt.family)
                attempt.sock.bind(attempt.from_place)
            error = attempt.sock.connect_ex(attempt.to_place)
        except OSError as refusal:
            error = refusal.errno or errno.EINVAL
        if error in (0, errno.EINPROGRESS) and attempt.sock is not None:
            answer = attempt.sock
            self._loop.add(
                answer.fileno(), END_EVENTS, lambda events: self._on_onward_answer(attempt, events)
            )
        elif error in OUT_OF_ROOM:
            self._refuse_for_room(attempt)
        elif error == errno.EADDRNOTAVAIL and attempt.retries < _MOST_RETRIES:
            # The last packets of an earlier connection of the same four numbers are still under way.
            attempt.retries += 1
            self._loop.call_after(_RETRY_S, lambda: self._retry(attempt))
        else:
            self._on_no(attempt, error)

    def _retry(self, attempt: Attempt) -> None:
        if self.attempts.get(attempt.key) is attempt:
            self._connect_onward(attempt)

    def _on_repeated_syn(self, attempt: Attempt, frame: memoryview) -> None:
        if attempt.state != CONNECTING:
            self._proxy.write(frame)  # the listener's kernel had no room for the first one
        elif attempt.held_syn is not None:
            attempt.server.write(attempt.held_syn)
            attempt.held_syn = None
        else:
            attempt.leave = 1

    def _on_onward_answer(self, attempt: Attempt, events: int) -> None:
        if attempt.state != CONNECTING or attempt.sock is None or not events & _ANSWERED:
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
            attempt.listener.unanswered()  # ETIMEDOUT; or trouble of our own: the client asks again
        self._forget(attempt)

    # From SYN-ACK to the pipe.

    def _release(self, attempt: Attempt) -> None:
        try:
            self._doors.expect(attempt.family, attempt.to_place, attempt.caller, attempt)
        except OSError as error:
            if error.errno not in OUT_OF_ROOM:
                raise
            self._refuse_for_room(attempt)
            return
        attempt.state = RELEASED
        self._proxy.write(attempt.syn)

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
        # Its last packet, the RST, leaves when the socket is closed; by then the router knows nothing of the
        # attempt and passes it on, as it should.
        self._forget(attempt)

    def _forget(self, attempt: Attempt) -> None:
        self.attempts.pop(attempt.key, None)
        self._doors.expect_no_more(attempt.to_place, attempt.caller)
        if attempt.sock is not None:
            self._loop.close_later(attempt.sock.fileno(), attempt.sock)
            attempt.sock = None


def is_same_syn(first: bytes, second: memoryview) -> bool:
    """Whether two SYNs of the same ports are one, repeated: it keeps its sequence number."""
    return _sequence(first) == _sequence(second)


def follows_syn(syn: bytes, segment: memoryview) -> bool:
    """Whether a segment of the same ports is of the connection that a SYN asks for, and not of one before it:
    a client that uses its port again at once may still answer that one's last ACK, with RST."""
    return 0 < (_sequence(segment) - _sequence(syn)) & 0xFFFFFFFF < 1 << 31


def _sequence(frame: bytes | memoryview) -> int:
    start = _VIRTIO + (frame[_VIRTIO] & 0x0F) * 4 if frame[_VIRTIO] >> 4 == 4 else _VIRTIO + 40
    return int.from_bytes(frame[start + 4 : start + 8], "big")
