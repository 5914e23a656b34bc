"""Two or three programs that send one another datagrams; each says as one line of JSON what it met.

    post.py echo HOST PORT                    answers each datagram with itself
    post.py ask HOST PORT SIZE...             one of each size to and fro, over a connected socket
    post.py burst HOST PORT COUNT SIZE        that many at once, each of its own bytes, then the count heard
    post.py take HOST PORT COUNT SIZE         takes them: how many came whole
    post.py extend HOST PORT SIZE...          as `ask`, behind hop-by-hop and destination options of IPv6
    post.py refused HOST PORT SIZE            the error that a connected socket meets
    post.py tell PORT TARGET...               once to each group or broadcast address, until all have answered
    post.py listen PORT NAME GROUP...         a member of these groups: answers each with its name

It stands alone (standard library only), because it runs inside the processes of a run.
"""

from __future__ import annotations

import errno
import json
import random
import socket
import struct
import sys
import time

PATIENCE_S = 10.0
MOST = 65_536
THERE = b"there?"
IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59  # linux/in6.h; to set them needs CAP_NET_RAW
PADDING = b"\0\0\1\4" + bytes(4)  # an options header that says nothing


def open_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(PATIENCE_S)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return made


def content(number: int, size: int) -> bytes:
    return random.Random(number * 100_000 + size).randbytes(size)


def say(**said: object) -> None:
    print(json.dumps(said), flush=True)


def echo(host: str, port: str) -> None:
    with open_socket(host) as own:
        own.settimeout(None)
        own.bind((host, int(port)))
        while True:
            data, peer = own.recvfrom(MOST)
            own.sendto(data, peer)


def ask(host: str, port: str, *sizes: str) -> None:
    with open_socket(host) as own:
        own.connect((host, int(port)))
        _wait_for_server(own)
        _ask(own, sizes)


def extend(host: str, port: str, *sizes: str) -> None:
    with open_socket(host) as own:
        own.connect((host, int(port)))
        _wait_for_server(own)
        for option in (IPV6_HOPOPTS, IPV6_DSTOPTS):
            own.setsockopt(socket.IPPROTO_IPV6, option, PADDING)
        _ask(own, sizes)


def _ask(own: socket.socket, sizes: tuple[str, ...]) -> None:
    say(equal=[_round_trip(own, content(number, int(size))) for number, size in enumerate(sizes)])


def _round_trip(own: socket.socket, data: bytes) -> bool:
    own.send(data)
    return _hear(own) == data


def _hear(own: socket.socket) -> bytes:
    """What comes next, but for a late answer to the first question."""
    while (data := own.recv(MOST)) == THERE:
        continue
    return data


def _wait_for_server(own: socket.socket) -> None:
    """By asking: until its port is there, its kernel says so, or, over IPv6 and not yet again,
    says nothing."""
    deadline = time.monotonic() + PATIENCE_S
    own.settimeout(0.2)
    while True:
        try:
            own.send(THERE)
            own.recv(MOST)
        except (ConnectionRefusedError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            own.settimeout(PATIENCE_S)
            return


def burst(host: str, port: str, count: str, size: str) -> None:
    with open_socket(host) as own:
        own.connect((host, int(port)))
        _wait_for_server(own)
        for number in range(int(count)):
            own.send(content(number, int(size)))
        say(heard=json.loads(_hear(own)))


def take(host: str, port: str, count: str, size: str) -> None:
    wanted = {content(number, int(size)) for number in range(int(count))}
    with open_socket(host) as own:
        own.bind((host, int(port)))
        data, peer = own.recvfrom(MOST)
        own.sendto(data, peer)
        heard: set[bytes] = set()
        while not wanted <= heard:
            try:
                heard.add(own.recv(MOST))
            except TimeoutError:
                break
        own.sendto(json.dumps(len(heard & wanted)).encode(), peer)


def refused(host: str, port: str, size: str) -> None:
    with open_socket(host) as own:
        # Without these a kernel keeps to itself that a host is not there (udp(7), ipv6(7)).
        own.setsockopt(*((socket.IPPROTO_IPV6, 25) if ":" in host else (socket.IPPROTO_IP, 11)), 1)
        own.connect((host, int(port)))
        own.send(bytes(int(size)))
        try:
            own.recv(MOST)
        except OSError as error:
            say(error=errno.errorcode[error.errno or 0])


def tell(port: str, *targets: str) -> None:
    answers = {}
    for target in targets:
        with open_socket(target) as own:
            own.settimeout(0.2)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            names: set[str] = set()
            deadline = time.monotonic() + PATIENCE_S
            while len(names) < 2 and time.monotonic() < deadline:
                own.sendto(target.encode(), (target, int(port)))
                names |= _names(own)
            answers[target] = sorted(names)
    say(answers=answers)


def _names(own: socket.socket) -> set[str]:
    names: set[str] = set()
    try:
        while len(names) < 2:
            names.add(own.recv(MOST).decode())
    except TimeoutError:
        pass
    return names


def listen(port: str, name: str, *groups: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        own.bind(("::", int(port)))
        index = socket.if_nametoindex("tun0")
        for group in groups:
            if ":" in group:
                wanted = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
                own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, wanted)
            else:
                wanted = socket.inet_aton(group) + bytes(4) + struct.pack("@i", index)
                own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, wanted)
        while True:
            _data, peer = own.recvfrom(MOST)
            own.sendto(name.encode(), peer)


if __name__ == "__main__":
    parts = {part.__name__: part for part in (echo, ask, extend, burst, take, refused, tell, listen)}
    parts[sys.argv[1]](*sys.argv[2:])
