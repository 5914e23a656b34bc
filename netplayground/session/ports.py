"""Where a live server is reached for a recorded connection: on the recorded port, or, where its kernel chose
that, on the one that it chose this time."""

from __future__ import annotations

from collections.abc import Callable, Set
from ipaddress import IPv4Address, IPv6Address

Listening = Set[tuple[IPv4Address | IPv6Address, int]]

_TRIES_BEFORE_ASKING = 3  # connects to a port that a server is most likely to listen on soon


class Ports:
    """The listening ports of one live server, as far as they differ from the recording.

    A recorded port is the server's choice where it is `dynamic`; or where nobody listens on it, and somebody
    listens on one that the recording does not know (vsftpd chooses its ports by itself). The newest of those
    that no other recorded port stands for is taken, and kept as long as it listens.
    """

    def __init__(self, known: Set[int], listening: Callable[[], Listening]) -> None:
        """`known`: the ports that the recording has for this server, but for the dynamic ones."""
        self._known = known
        self._listening = listening
        self._first_seen: dict[int, int] = {}
        self._looks = 0
        self._stands_for: dict[int, int] = {}  # recorded port -> the one of now
        self._tries: dict[int, int] = {}

    def look(self) -> None:
        """Remember in which order ports came."""
        self._looks += 1
        for _, port in self._listening():
            self._first_seen.setdefault(port, self._looks)

    def find(self, port: int, is_dynamic: bool) -> int | None:
        """The port to connect to now; None where there is none yet."""
        tries = self._tries[port] = self._tries.get(port, 0) + 1
        if not is_dynamic and tries <= _TRIES_BEFORE_ASKING and port not in self._stands_for:
            return port
        self.look()
        open_ports = {number for _, number in self._listening()}
        if port in open_ports:
            return port
        chosen = self._stands_for.get(port)
        if chosen in open_ports:
            return chosen
        taken = self._stands_for.values()
        unknown = [number for number in open_ports if number not in self._known and number not in taken]
        if not unknown:
            return None if is_dynamic else port
        newest = max(unknown, key=lambda number: self._first_seen.get(number, self._looks))
        self._stands_for[port] = newest
        return newest

    def reached(self, port: int) -> None:
        """The recorded port was reached: the next connection to it is asked for afresh."""
        self._tries.pop(port, None)
