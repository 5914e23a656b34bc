"""The proxy's sockets: of any address and port, and nothing of them stays behind when plg is killed."""

from __future__ import annotations

import errno
import socket
import struct

Place = tuple[str, int] | tuple[str, int, int, int]  # an address as the socket module takes it

OUT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

# SO_LINGER (socket(7)): whether close() sends RST, or what is left and FIN. All sockets begin with the first,
# so that nothing of them is left in the kernel when plg is killed, and end with the second.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
CLOSE_IN_ORDER = struct.pack("ii", 0, 0)

_LINK_LOCAL = b"\xfe\x80"  # as far as processes have them: fe80::/64
_IPV6_TRANSPARENT = 75  # linux/in6.h; the socket module does not name it


def new_socket(family: int) -> socket.socket:
    """A TCP socket that may use any process's address and port, also those that another socket here uses."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # What follows an accepted socket inherits from its listener.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    return sock


def close_in_order(sock: socket.socket) -> None:
    """What is left goes, then FIN, when the socket is closed."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CLOSE_IN_ORDER)


def family_of(address: bytes) -> int:
    """The socket module's family of a packed address."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def place_of(address: bytes, port: int, tun_index: int) -> Place:
    """A packed address and a port as the socket module takes them; a link-local one is on the proxy's device
    (RFC 4007)."""
    text = socket.inet_ntop(family_of(address), address)
    return (text, port, 0, tun_index) if address[:2] == _LINK_LOCAL else (text, port)
