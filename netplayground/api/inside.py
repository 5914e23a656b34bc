"""This program's own sockets in a playground: while somebody is inside, Python's are made there.

A socket belongs to the network namespace in which it was made, wherever it is used. So the seat's agent makes
it and hands it over; this works for any user and in every thread, and nothing of this program moves. For as
long as anybody is inside, `socket.socket` asks the agent for IPv4 and IPv6 sockets, and the functions that
look up names know the processes of the playground, and nobody else: in a playground there is no name server.

- A thread that has entered a playground, or the outside, by itself is there; any other thread is in the
  playground that was entered last.
- Proxies of the environment are not asked (`no_proxy` is "*"): there is no way to them.
- Sockets that were there before stay what they are. What does not go by way of `socket.socket` (libpq,
  libcurl, a child process) is not inside.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast

from netplayground.api.seat import Seat

_INTERNET = (socket.AF_INET, socket.AF_INET6)
NO_PROXY = {"no_proxy": "*", "NO_PROXY": "*"}
_FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK

_lock = threading.Lock()
_entered: list[Inside] = []
_own = threading.local()
_originals: dict[tuple[Any, str], Any] = {}  # of the last time: a thread may still be in a replacement
_variables: dict[str, str | None] = {}


class Inside:
    """One playground's network, as sockets of this program find it."""

    def __init__(self, seat: Seat, addresses: Mapping[str, Sequence[str]]) -> None:
        """`addresses`: of all processes by name, IPv4 first."""
        self.seat = seat
        self._addresses = {name.lower(): tuple(found) for name, found in addresses.items()}
        self._names = {address: name for name, found in addresses.items() for address in found}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def __enter__(self) -> Inside:
        with _lock:
            if not _entered:
                _replace()
            _entered.append(self)
        _stack().append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _remove_last(_stack(), self)
        with _lock:
            _remove_last(_entered, self)
            if not _entered:
                _restore()

    def shut_down(self) -> None:
        """Close both directions of what is still open: nobody will carry it any further."""
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                _socket.socket.shutdown(each, socket.SHUT_RDWR)

    def make(self, family: int, kind: int, protocol: int) -> int:
        """The descriptor of a socket."""
        descriptor = self.seat.open_socket(family, kind & ~_FLAGS, protocol)
        os.set_blocking(descriptor, not kind & socket.SOCK_NONBLOCK)
        return descriptor

    def keep(self, made: socket.socket) -> None:
        """It was made here."""
        self._sockets.add(made)

    def addresses(self, host: str) -> tuple[str, ...] | None:
        """Those of a process; None where the host is no name, gaierror where nobody has that."""
        known = self._addresses.get(host.lower().removesuffix("."))
        if known is not None:
            return known
        if host in ("", "<broadcast>", "localhost", "localhost.") or _is_address(host):
            return None
        raise socket.gaierror(socket.EAI_NONAME, f"Name or service not known: {host}")

    def name(self, address: str) -> str | None:
        """Who has it."""
        return self._names.get(address)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """The calling thread's sockets are those of the machine, as if nobody were inside."""
    _stack().append(None)
    try:
        yield
    finally:
        _stack().pop()


def forget() -> None:
    """In a fork that is inside by itself: nobody is inside by way of an agent."""
    _own.stack = []
    if _entered:
        _entered.clear()
        _restore()


def _here() -> Inside | None:
    stack = _stack()
    if stack:
        return stack[-1]
    return _entered[-1] if _entered else None


def _stack() -> list[Inside | None]:
    stack: list[Inside | None] | None = getattr(_own, "stack", None)
    if stack is None:
        stack = _own.stack = []
    return stack


def _remove_last(entries: list[Any], entry: Inside) -> None:
    """One that was entered in another thread is not on this one's stack."""
    for index in reversed(range(len(entries))):
        if entries[index] is entry:
            del entries[index]
            return


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return _is_short_address(host)
    return True


def _is_short_address(host: str) -> bool:
    """As inet_aton(3) reads it: '127.1'."""
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    return True


# What stands in for the originals.


def _replace() -> None:
    for (owner, name), replacement in _REPLACEMENTS.items():
        _originals[owner, name] = vars(owner).get(name)
        setattr(owner, name, replacement)
    for variable in NO_PROXY:
        _variables[variable] = os.environ.get(variable)
    os.environ.update(NO_PROXY)


def _restore() -> None:
    for (owner, name), original in _originals.items():
        if original is None:  # it was inherited
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    for variable, value in _variables.items():
        if value is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = value


def _init(
    self: socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
) -> None:
    here = _here()
    if fileno is not None or here is None or family not in (-1, *_INTERNET):
        _original_init(self, family, type, proto, fileno)
        return
    family = socket.AF_INET if family == -1 else family
    type, proto = socket.SOCK_STREAM if type == -1 else type, max(0, proto)
    made = here.make(family, type, proto)
    try:
        _original_init(self, family, type, proto, made)
    except BaseException:
        os.close(made)
        raise
    here.keep(self)


def _original_init(self: socket.socket, family: int, kind: int, protocol: int, fileno: int | None) -> None:
    original: Callable[..., None] = _originals.get((socket.socket, "__init__"), socket.socket.__init__)
    original(self, family, kind, protocol, fileno)


def _connect(self: socket.socket, address: Any) -> None:
    _socket.socket.connect(self, _resolved(self, address))


def _connect_ex(self: socket.socket, address: Any) -> int:
    return _socket.socket.connect_ex(self, _resolved(self, address))


def _bind(self: socket.socket, address: Any) -> None:
    _socket.socket.bind(self, _resolved(self, address))


def _sendto(self: socket.socket, data: Any, *rest: Any) -> int:
    *flags, address = rest
    return cast(int, cast(Any, _socket.socket.sendto)(self, data, *flags, _resolved(self, address)))


def _resolved(self: socket.socket, address: Any) -> Any:
    """The address with a name in it replaced: the kernel's side of Python would ask the machine for it."""
    here = _here()
    if here is None or self.family not in _INTERNET or not isinstance(address, tuple) or not address:
        return address
    host = _text(address[0])
    if host is None:
        return address
    found = here.addresses(host)
    if found is None:
        return address
    return (_of_family(found, self.family, host)[0], *address[1:])


def _text(host: Any) -> str | None:
    if isinstance(host, (bytes, bytearray)):
        return bytes(host).decode("ascii", "surrogateescape")
    return host if isinstance(host, str) else None


def _of_family(addresses: Sequence[str], family: int, host: str) -> list[str]:
    wanted = {socket.AF_INET: (4,), socket.AF_INET6: (6,)}.get(socket.AddressFamily(family), (4, 6))
    found = [address for address in addresses if ip_address(address).version in wanted]
    if not found:
        raise socket.gaierror(socket.EAI_NONAME, f"No address of this family for: {host}")
    return found


def _getaddrinfo(
    host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> list[Any]:
    original: Callable[..., list[Any]] = _originals.get((socket, "getaddrinfo"), socket.getaddrinfo)
    here, text = _here(), _text(host)
    if here is None or text is None or flags & socket.AI_NUMERICHOST:
        return original(host, port, family, type, proto, flags)
    found = here.addresses(text)
    if found is None:
        return original(host, port, family, type, proto, flags)
    kept = flags & ~(socket.AI_ADDRCONFIG | socket.AI_CANONNAME)  # the machine's addresses say nothing here
    addresses = _of_family(found, family, text)
    return [info for address in addresses for info in original(address, port, 0, type, proto, kept)]


def _gethostbyname(hostname: str) -> str:
    return _gethostbyname_ex(hostname)[2][0]


def _gethostbyname_ex(hostname: str) -> tuple[str, list[str], list[str]]:
    here = _here()
    found = None if here is None else here.addresses(hostname)
    if found is None:
        original: Callable[..., tuple[str, list[str], list[str]]] = _originals[socket, "gethostbyname_ex"]
        return original(hostname)
    return hostname, [], _of_family(found, socket.AF_INET, hostname)


def _gethostbyaddr(ip_address: str) -> tuple[str, list[str], list[str]]:
    here = _here()
    if here is None:
        original: Callable[..., tuple[str, list[str], list[str]]] = _originals[socket, "gethostbyaddr"]
        return original(ip_address)
    found = here.addresses(ip_address) or (ip_address,)
    name = here.name(found[0])
    if name is None:
        raise socket.herror(1, "Unknown host")
    return name, [], list(found)


_REPLACEMENTS: dict[tuple[Any, str], Callable[..., object]] = {
    (socket.socket, "__init__"): _init,
    (socket.socket, "connect"): _connect,
    (socket.socket, "connect_ex"): _connect_ex,
    (socket.socket, "bind"): _bind,
    (socket.socket, "sendto"): _sendto,
    (socket, "getaddrinfo"): _getaddrinfo,
    (socket, "gethostbyname"): _gethostbyname,
    (socket, "gethostbyname_ex"): _gethostbyname_ex,
    (socket, "gethostbyaddr"): _gethostbyaddr,
}
