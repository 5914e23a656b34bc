"""A playground whose devices are datagram sockets: three processes, the proxy, and a router that records."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from netplayground.dump.model import Process, RunHeader
from netplayground.dump.writer import DumpWriter
from netplayground.packet import ip, virtio
from netplayground.packet.checksum import internet_checksum
from netplayground.traffic.connect import Connector
from netplayground.traffic.courier import Courier
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop
from netplayground.traffic.pipe import Workspace
from netplayground.traffic.router import Router, links_by_address

A, B, C = (IPv4Address(f"10.0.0.{n}") for n in (1, 2, 3))
A6, B6, C6 = (IPv6Address(f"fd00:706c:67::{n}") for n in (1, 2, 3))
NOBODY, NOBODY6 = IPv4Address("10.0.0.99"), IPv6Address("fd00:706c:67::99")
Address = IPv4Address | IPv6Address


class Device:
    """A TUN device's two ends: the router's, and ours in place of a kernel."""

    def __init__(self) -> None:
        self.routers, self.ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.routers.setblocking(False)
        self.ours.setblocking(False)

    def heard(self) -> list[bytes]:
        """The packets that came, without their virtio headers."""
        packets = []
        while True:
            try:
                packets.append(self.ours.recv(70_000)[virtio.HEADER_LENGTH :])
            except BlockingIOError:
                return packets

    def close(self) -> None:
        self.routers.close()
        self.ours.close()


class Ear:
    """Hears of a connection and remembers what."""

    def __init__(self, heard: list[str]) -> None:
        self._heard = heard

    def syn(self) -> None:
        self._heard.append("syn")

    def established(self) -> None:
        self._heard.append("established")

    def refused(self) -> None:
        self._heard.append("refused")

    def unreachable(self) -> None:
        self._heard.append("unreachable")

    def unanswered(self) -> None:
        self._heard.append("unanswered")

    def aborted(self) -> None:
        self._heard.append("aborted")

    def chunk(self, side: int, data: memoryview) -> int:
        raise AssertionError("no pipe is made here")

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        raise AssertionError("no pipe is made here")

    def fin(self, side: int) -> None:
        raise AssertionError("no pipe is made here")

    def rst(self, side: int) -> None:
        raise AssertionError("no pipe is made here")

    def note(self, kind: str, **fields: object) -> None:
        self._heard.append(kind)


class Playground:
    """Three processes, the proxy, and a router between that records; `say` lets one of them send a packet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_closed = False
        self.loop = Loop()
        self.heard: list[str] = []
        self.devices = [Device() for _ in range(4)]
        pairs = zip("abc", self.devices, ((A, A6), (B, B6), (C, C6)), strict=False)
        self.links = [
            Link(name, device.routers.fileno(), own, position)
            for position, (name, device, own) in enumerate(pairs, 1)
        ]
        proxy = Link("proxy", self.devices[3].routers.fileno(), ())
        workspace = Workspace(self.loop, -1)
        by_address = links_by_address(self.links)
        connector = Connector(
            workspace, proxy, 2, by_address, lambda *_ends: Ear(self.heard), 10, self.heard.append
        )
        everybody = zip("abc", ((A, A6), (B, B6), (C, C6)), strict=True)
        processes = tuple(Process(name, n, own, "") for n, (name, own) in enumerate(everybody, 1))
        run = RunHeader(("10.0.0.0/24",), processes)
        self.writer = DumpWriter.create(path, run, 0)
        courier = Courier(self.writer.datagrams())
        self.router = Router(self.loop, self.links, proxy, connector, IPv4Network("10.0.0.0/24"), courier)

    def say(self, device: int, *packets: bytes, header: bytes = virtio.PLAIN) -> list[list[bytes]]:
        """What a, b, c and the proxy hear after this."""
        for each in packets:
            self.devices[device].ours.send(header + each)
        return self.hear(len(packets))

    def hear(self, looks: int = 1) -> list[list[bytes]]:
        """What everybody hears after as many looks at the devices."""
        heard: list[list[bytes]] = [[], [], [], []]
        for _ in range(looks):
            self._look()
            for sofar, each in zip(heard, self.devices, strict=True):
                sofar += each.heard()
        return heard

    def _look(self) -> None:
        self.loop.again(self.loop.stop)  # after one look at the devices
        self.loop.run()

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        self.router.close()
        self.writer.close()
        self.loop.close()
        for device in self.devices:
            device.close()


def packet(source: Address, target: Address, protocol: int, payload: bytes) -> bytes:
    return ip.emit_header(source.packed, target.packed, protocol, len(payload)) + payload


def cut(whole: bytes, mtu: int = 1500, identification: int = 7) -> list[bytes]:
    """A packet in fragments, as a kernel cuts it."""
    header = whole[:20] if whole[0] >> 4 == 4 else whole[:40]
    room = (mtu - len(header) - (8 if len(header) == 40 else 0)) & ~7
    pieces = range(len(header), len(whole), room)
    return [
        fragment(header, whole[at : at + room], at - len(header), at + room < len(whole), identification)
        for at in pieces
    ]


def fragment(header: bytes, data: bytes, start: int, more: bool, identification: int = 7) -> bytes:
    """One fragment behind a header of either version."""
    if len(header) == 40:
        inside = bytes((header[6], 0)) + (start | more).to_bytes(2, "big") + identification.to_bytes(4, "big")
        return header[:4] + (8 + len(data)).to_bytes(2, "big") + bytes((44,)) + header[7:] + inside + data
    made = bytearray(header)
    made[2:8] = struct.pack(">HHH", 20 + len(data), identification & 0xFFFF, start // 8 | more << 13)
    made[10:12] = bytes(2)
    made[10:12] = internet_checksum(made).to_bytes(2, "big")
    return bytes(made) + data
