"""Connection set-up of a replay: live clients are answered in place of their servers, live servers are
connected to in place of their clients.

A live client's SYN is shown to the `Host`, whose answer the client meets at once: its SYN is let go into the
proxy namespace, where a door waits (and `accept()` gives a line), or RST, or ICMP unreachable, or silence. A
SYN that comes again while its attempt is under way is the same question, and not asked twice.

A live server sees a connection from its client's own address and, where nobody else uses it at the moment,
the port that the client had in the recording.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Protocol

from netplayground.packet import icmp, tcp, virtio
from netplayground.traffic.connect import Key, follows_syn, is_same_syn
from netplayground.traffic.doors import IDLE_DOORS, Caller, Doors
from netplayground.traffic.line import Line, LineListener
from netplayground.traffic.link import Link
from netplayground.traffic.pipe import END_EVENTS, Workspace
from netplayground.traffic.sockets import OUT_OF_ROOM, Place, family_of, new_socket, place_of
from netplayground.traffic.sweep import Sweep

_SYN_ACK_RST = tcp.SYN | tcp.ACK | tcp.RST
_TCP_CLOSE = 7  # include/net/tcp_states.h
_ANSWERED = EPOLLOUT | EPOLLERR | EPOLLHUP
_VIRTIO = virtio.HEADER_LENGTH
_TAKEN = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})
# What a socket is told of a RST once it was connected; before, it is ECONNREFUSED (tcp_reset()).
_ABORTED = frozenset({errno.ECONNRESET, errno.EPIPE})


class Answer(Enum):
    """What a live client's SYN meets."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    SILENCE = "silence"


class Guest(LineListener, Protocol):
    """Who is at the tape's end of a connection."""

    def connected(self, line: Line) -> None:
        """It stands."""

    def failed(self) -> None:
        """It came to nothing."""


class Host(Protocol):
    """Says what becomes of a live client's connect."""

    def answer(self, client: Link, server: bytes, port: int) -> tuple[Answer, Guest | None]:
        """The answer to a new SYN to a packed address and port; with ACCEPT, who is there."""


class _Attempt:
    """A live client's connection that is not one yet: `guest` is None for one that meets silence."""

    __slots__ = ("began", "caller", "guest", "key", "place", "syn")

    def __init__(self, key: Key, syn: bytes, guest: Guest | None, tun_index: int) -> None:
        client, server, client_port, server_port = key
        self.key = key
        self.syn = syn  # virtio header and all
        self.guest = guest
        self.place = place_of(server, server_port, tun_index)
        self.caller: Caller = place_of(client, client_port, tun_index)[:2]
        self.began = time.monotonic()


class Answerer:
    """Turns SYNs and the tape's connects into lines. The router asks it about every SYN, and about every
    packet of TCP while there are attempts."""

    def __init__(
        self,
        workspace: Workspace,
        proxy: Link,
        tun_index: int,
        host: Host,
        capacity: int,
        say: Callable[[str], None],
    ) -> None:
        self.attempts: dict[Key, _Attempt] = {}
        self.refused_for_room = 0
        self._workspace = workspace
        self._loop = workspace.loop
        self._proxy = proxy
        self._tun_index = tun_index
        self._host = host
        self._capacity = 2 * capacity  # lines: one socket each
        self._say = say
        self._doors: Doors[_Attempt] = Doors(self._loop, new_socket, self._let_in, self._give_up)
        self._sweep = Sweep(self._loop, self.attempts, self._give_up)
        self._lines: set[Line] = set()
        self._client_lines: dict[Key, Line] = {}
        self._connecting: set[socket.socket] = set()
        self._has_said_no_room = False

    # What the router asks.

    def on_packet_of_process(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """A process says something: the SYN of a new connection, something of an attempt, or of a line."""
        if flags & _SYN_ACK_RST == tcp.SYN:
            self._on_syn(link, key, frame)
            return
        attempt = self.attempts.get(key)
        if attempt is not None and flags & tcp.RST and follows_syn(attempt.syn, frame):
            self._end_attempt(attempt)
        self._proxy.write(frame)

    def on_packet_of_proxy(self, link: Link, _key: Key, _flags: int, frame: memoryview) -> None:
        """The proxy says something to the process of `link`."""
        link.write(frame)

    @property
    def open_count(self) -> int:
        """Connections on which a process may still say something, or that are under way."""
        speaking = sum(not line.fin_seen for line in self._lines)
        return speaking + len(self.attempts) + len(self._connecting)

    @property
    def _taken(self) -> int:
        """Descriptors that are in use."""
        return len(self._lines) + len(self.attempts) + len(self._connecting) + len(self._doors)

    def close(self) -> None:
        """The run is over: end what is open or under way, without a word to the processes."""
        self._doors.close()
        for sock in self._connecting:
            sock.close()
        for line in self._lines:
            line.abandon()

    # Live clients.

    def _on_syn(self, client: Link, key: Key, frame: memoryview, put_off: bool = False) -> None:
        attempt = self.attempts.get(key)
        if attempt is not None and is_same_syn(attempt.syn, frame):
            if attempt.guest is not None:
                self._proxy.write(frame)  # the listener's kernel had no room for the first one
            return
        if attempt is None and key not in self._client_lines:
            self._begin(client, key, bytes(frame))
        elif put_off:
            return  # still not over: the client's kernel asks again
        elif self._is_over_for_client(key, attempt):
            again = bytes(frame)  # its socket is closed at the end of this round
            self._loop.again(lambda: self._on_syn(client, key, memoryview(again), put_off=True))
        else:
            self._proxy.write(frame)  # the kernel's challenge ACK finds out whose mistake it is

    def _is_over_for_client(self, key: Key, attempt: _Attempt | None) -> bool:
        """Whether the client has done with the connection of this key, and uses its port again at once."""
        if attempt is not None:
            self._end_attempt(attempt)
        line = self._client_lines.get(key)
        if line is None:
            return True
        if line.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_CLOSE:
            return False
        line.on_events(EPOLLIN | EPOLLERR)  # what epoll has not told yet
        return True

    def _begin(self, client: Link, key: Key, syn: bytes) -> None:
        if self._taken > self._capacity + IDLE_DOORS:
            self._refuse_for_room(client, syn)
            return
        answer, guest = self._host.answer(client, key[1], key[3])
        packet = memoryview(syn)[_VIRTIO:]
        if answer is Answer.REFUSE:
            client.send(tcp.emit_reset_to_syn(packet))
        elif answer is Answer.UNREACHABLE:
            client.send(icmp.emit_unreachable(packet))
        else:
            self.attempts[key] = attempt = _Attempt(key, syn, guest, self._tun_index)
            self._sweep.later()
            if guest is not None:
                self._expect(client, attempt, guest)

    def _expect(self, client: Link, attempt: _Attempt, guest: Guest) -> None:
        try:
            self._doors.expect(family_of(attempt.key[0]), attempt.place, attempt.caller, attempt)
        except OSError as error:
            if error.errno not in OUT_OF_ROOM:
                raise
            del self.attempts[attempt.key]
            self._refuse_for_room(client, attempt.syn)
            self._loop.again(guest.failed)
            return
        self._proxy.write(attempt.syn)

    def _refuse_for_room(self, client: Link, syn: bytes) -> None:
        self._say_no_room("refusing the next")
        self.refused_for_room += 1
        client.send(tcp.emit_reset_to_syn(memoryview(syn)[_VIRTIO:]))

    def _say_no_room(self, what_now: str) -> None:
        if not self._has_said_no_room:
            self._has_said_no_room = True
            self._say(f"no descriptors for more than {len(self._lines)} connections at once: {what_now}")

    def _let_in(self, attempt: _Attempt, sock: socket.socket) -> None:
        key, guest = attempt.key, attempt.guest
        assert guest is not None
        del self.attempts[key]
        line = self._client_lines[key] = Line(
            self._workspace, sock, guest, lambda line: self._forget_client(key, line)
        )
        self._lines.add(line)
        self._loop.add(sock.fileno(), END_EVENTS, line.on_events)
        guest.connected(line)

    def _forget_client(self, key: Key, line: Line) -> None:
        self._lines.discard(line)
        del self._client_lines[key]

    def _give_up(self, attempt: _Attempt) -> None:
        """The client is gone before its connection stood."""
        del self.attempts[attempt.key]
        self._doors.expect_no_more(attempt.place, attempt.caller)
        if attempt.guest is not None:
            self._loop.again(attempt.guest.failed)

    def _end_attempt(self, attempt: _Attempt) -> None:
        """Its client does not ask any more: because it has its connection already, or has given up."""
        if attempt.guest is not None:
            self._doors.admit(attempt.place)  # it may be a connection, which epoll would tell us of soon
        if attempt.key in self.attempts:
            self._give_up(attempt)

    # Live servers.

    def connect(self, client: bytes, client_port: int, server: bytes, port: int, guest: Guest) -> None:
        """Connect to a live server from a client's packed address, and if it can be had its port; `guest`
        hears what came of it in the loop's next round or later."""
        target = place_of(server, port, self._tun_index)
        for from_port in (client_port, 0):
            error, sock = self._connect(place_of(client, from_port, self._tun_index), target)
            if sock is not None:
                self._workspace.has_sent = True
                self._connecting.add(sock)
                self._loop.add(sock.fileno(), END_EVENTS, partial(self._on_answer, sock, guest))
                return
            if error not in _TAKEN:
                break
            # Else the last packets of an earlier connection of the same four numbers are still under way.
        if error in OUT_OF_ROOM:
            self._say_no_room("the next waits")
        self._loop.again(guest.failed)

    def _connect(self, source: Place, target: Place) -> tuple[int, socket.socket | None]:
        """Why not, or the socket that asks."""
        if self._taken > self._capacity + IDLE_DOORS:
            return errno.EMFILE, None
        sock: socket.socket | None = None
        try:
            sock = new_socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
            sock.bind(source)
            error = sock.connect_ex(target)
        except OSError as refusal:
            error = refusal.errno or errno.EINVAL
        if error in (0, errno.EINPROGRESS):
            return 0, sock
        if sock is not None:
            sock.close()
        return error, None

    def _on_answer(self, sock: socket.socket, guest: Guest, events: int) -> None:
        if not events & _ANSWERED or sock not in self._connecting:
            return
        self._connecting.discard(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error and error not in _ABORTED:
            self._loop.close_later(sock.fileno(), sock)
            guest.failed()
            return
        line = Line(self._workspace, sock, guest, self._lines.discard)
        self._lines.add(line)
        self._loop.change(sock.fileno(), END_EVENTS, line.on_events)
        if error:
            line.tell_abort_later(error)
        guest.connected(line)
