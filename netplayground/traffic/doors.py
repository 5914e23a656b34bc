"""Doors: the sockets that listen, in the proxy namespace, on the addresses and ports that clients ask for.

A door is made when the first connection through it is expected, and stays for the next one: every SYN is held
until it is expected here, so an idle door answers nobody. Only so many stay idle; the one idle longest goes
first.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from select import EPOLLIN
from typing import Generic, TypeVar

from netplayground.traffic.loop import Loop
from netplayground.traffic.sockets import OUT_OF_ROOM, Place

IDLE_DOORS = 64
Caller = tuple[str, int]  # a client's address and port, as accept() says it
Guest = TypeVar("Guest")


class Door(Generic[Guest]):
    """One listening socket, and who is expected through it."""

    __slots__ = ("expected", "place", "sock")

    def __init__(self, place: Place, sock: socket.socket) -> None:
        self.place = place
        self.sock = sock
        self.expected: dict[Caller, Guest] = {}


class Doors(Generic[Guest]):
    """All doors of the proxy. `on_guest(guest, sock)` is called for each that was expected and came."""

    def __init__(
        self,
        loop: Loop,
        new_socket: Callable[[int], socket.socket],
        on_guest: Callable[[Guest, socket.socket], None],
        on_no_room: Callable[[Guest], None],
    ) -> None:
        self._loop = loop
        self._new_socket = new_socket
        self._on_guest = on_guest
        self._on_no_room = on_no_room
        self._doors: dict[Place, Door[Guest]] = {}
        self._idle: OrderedDict[Place, Door[Guest]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._doors)

    def expect(self, family: int, place: Place, caller: Caller, guest: Guest) -> None:
        """Expect `caller` at `place`; OSError when the door cannot be made."""
        door = self._doors.get(place)
        if door is None:
            door = self._make(family, place)
        door.expected[caller] = guest
        self._idle.pop(place, None)

    def expect_no_more(self, place: Place, caller: Caller) -> None:
        """Who comes after this is sent away; harmless for one that was not expected."""
        door = self._doors.get(place)
        if door is not None and door.expected.pop(caller, None) is not None:
            self._idle_if_empty(door)

    def admit(self, place: Place) -> None:
        """Let in who waits at this door now, instead of when epoll tells of it."""
        door = self._doors.get(place)
        if door is not None:
            while self._on_acceptable(door):
                pass

    def close(self) -> None:
        """Close every door; who waits there is sent away."""
        for door in self._doors.values():
            door.sock.close()
        self._doors.clear()

    def _make(self, family: int, place: Place) -> Door[Guest]:
        sock = self._new_socket(family)
        try:
            sock.bind(place)
            sock.listen(socket.SOMAXCONN)
        except OSError:
            sock.close()
            raise
        door = self._doors[place] = Door(place, sock)

        def let_in(_events: int) -> None:
            self._on_acceptable(door)

        self._loop.add(sock.fileno(), EPOLLIN, let_in)
        return door

    def _on_acceptable(self, door: Door[Guest]) -> bool:
        """Let one in; False when nobody waits."""
        try:
            sock, peer = door.sock.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in OUT_OF_ROOM:
                return True  # ECONNABORTED and its like: one that left while it waited (accept(2))
            for guest in list(door.expected.values())[:1]:
                self._on_no_room(guest)  # whose end sets two descriptors free
            return False
        guest_or_none = door.expected.pop(peer[:2], None)
        if guest_or_none is None:
            sock.close()  # somebody who was expected no more
            return True
        self._idle_if_empty(door)
        sock.setblocking(False)
        self._on_guest(guest_or_none, sock)
        return True

    def _idle_if_empty(self, door: Door[Guest]) -> None:
        if door.expected:
            return
        self._idle[door.place] = door
        if len(self._idle) > IDLE_DOORS:
            place, oldest = self._idle.popitem(last=False)
            del self._doors[place]
            self._loop.close_later(oldest.sock.fileno(), oldest.sock)
