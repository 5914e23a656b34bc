"""Where a live server is reached for a recorded connection: on the recorded port, or, where its kernel chose
that, on the one that it chose this time."""

from __future__ import annotations

from collections.abc import Callable, Set
from ipaddress import IPv4Address, IPv6Address

Listening = Set[tuple[IPv4Address | IPv6Address, int]]

_TRIES_BEFORE_ASKING = 3  # connects to a port that a server is most likely to listen on soon
_LOOK_NS = 5_000_000
_SHARE = 10  # a look takes up to 16 ms, where nobody listens and the kernel's table is large: so rarely
_LONGEST_NS = 150_000_000  # but within a replay's patience, also where a look was interrupted


class Ports:
    """The listening ports of one live server, as far as they differ from the recording.

    A recorded port is the server's choice where it is `dynamic`; or where nobody listens on it, and somebody
    listens, since the server was reached first, on one that the recording does not know (vsftpd chooses its
    ports by itself). The newest of those that no other recorded port stands for is taken, and kept as long as
    it listens. The clock gives nanoseconds.
    """

    def __init__(self, known: Set[int], listening: Callable[[], Listening], clock: Callable[[], int]) -> None:
        """`known`: the ports that the recording has for this server, but for the dynamic ones."""
        self._known = known
        self._listening = listening
        self._clock = clock
        self._open: dict[int, int] = {}  # port -> the look in which it came
        self._looks = 0
        self._next_look = clock()
        self._stands_for: dict[int, int] = {}  # recorded port -> the one of now
        self._used: set[int] = set()  # recorded ports that were reached in this way
        self._reached_in: int | None = None  # the first look after the server was reached

    def find(self, port: int, is_dynamic: bool, tries: int) -> int | None:
        """The port to connect to now, for a connection that was tried so often in vain; None where there is
        none yet."""
        chosen = self._stands_for.get(port)
        if chosen is None and not is_dynamic and tries < _TRIES_BEFORE_ASKING:
            return port
        self._look()
        if port in self._open and port not in self._stands_for.values():
            return port
        if chosen in self._open:
            return chosen
        self._stands_for.pop(port, None)
        newest = self._newest_unknown(is_dynamic)
        if newest is None:
            return None if is_dynamic else port
        self._stands_for[port] = newest
        self._used.discard(port)
        return newest

    def reached(self, port: int) -> None:
        """A connection stands that was for this recorded port."""
        if port in self._stands_for:
            self._used.add(port)
        if self._reached_in is None:
            self._look()
            self._reached_in = self._looks

    def _look(self) -> None:
        """Remember in which order ports came; those of thousands of connects that wait are looked for at
        once."""
        begin = self._clock()
        if begin < self._next_look:
            return
        self._looks += 1
        self._open = {port: self._open.get(port, self._looks) for _, port in self._listening()}
        end = self._clock()
        self._next_look = end + min(_LONGEST_NS, max(_LOOK_NS, (_SHARE - 1) * (end - begin)))

    def _newest_unknown(self, is_dynamic: bool) -> int | None:
        if not is_dynamic and self._reached_in is None:
            return None  # it is not up yet; what it listens on besides says nothing
        since = 0 if is_dynamic or self._reached_in is None else self._reached_in + 1
        unknown = [port for port, look in self._open.items() if port not in self._known and look >= since]
        # A kernel may choose again what it had chosen for something that is over.
        over = {self._stands_for[port] for port in self._used}
        taken = set(self._stands_for.values())
        for choice in (set(unknown) - taken, set(unknown) & over):
            if choice:
                return max(choice, key=lambda port: self._open[port])
        return None
