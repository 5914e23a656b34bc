"""Packets of an interface out of memory that the kernel fills: a TPACKET_V3 ring of an AF_PACKET socket.

Kernel documentation: networking/packet_mmap. The ring is a circle of blocks:

    the kernel fills it ── full, or its time is up: it is ours ── taken ── released: it is the kernel's again

In a block packets stand one behind another, each behind a header that links to the next. Four words of that
header are those of a pcap record (seconds, nanoseconds, octets captured, length), so that blocks become
batches as they stand: nothing is copied. What the kernel has no room for it drops and counts.

The order in which the ring is set up lets no packet in that was not asked for: the socket is made for no
protocol, and hears nothing until `start` binds it to the interface, after the filter.

- The kernel takes a VLAN's tag out of the frame and notes it in the header. A dump has no link layer, so
  nobody misses it; the inner tag of QinQ stands in the frame.
- The loopback interface shows each packet twice, as it goes out and as it comes in; PACKET_IGNORE_OUTGOING
  (Linux 4.20) leaves the second.
- "any" is all interfaces, as it is for tcpdump: read with SOCK_DGRAM, and without what goes out to the
  loopback (`filters.NO_ECHO`). What crosses two of them (a bridge and its port, both ends of a veth pair) is
  seen twice.
- An interface whose packets have no link header, or one that the importer does not know, is read with
  SOCK_DGRAM: the kernel leaves that header away, and what is left begins with IP.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from netplayground.capture import filters
from netplayground.capture.link import ETHERNET, RAW
from netplayground.capture.records import BATCH, PLACES, Batch, Interface, Interfaces, Layout
from netplayground.errors import CaptureError

ANY = "any"
SIZE = 64 << 20
RETIRE_MS = 64
"""A block that is not full is ours after so long, if there is anything in it."""

_ETH_P_ALL = 3
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _IGNORE_OUTGOING = 1, 5, 6, 10, 23
_TPACKET_V3 = 2
_PROMISCUOUS = 1
_SO_ATTACH_FILTER = 26
_SIOCGIFHWADDR = 0x8927
_NAME_SIZE = 16
_ARPHRD_ETHER, _ARPHRD_LOOPBACK, _ARPHRD_NONE = 1, 772, 0xFFFE
_FRAME = 2048
_IS_OURS, _IS_LOSING = 1, 4
_STATUS, _PACKETS, _FIRST = 8, 12, 16
"""Where they stand in a block (struct tpacket_hdr_v1)."""
_RECORD = 4
"""Where in a packet's header that of a pcap record begins."""
_CAPTURED = 8
_TICKS = 1_000_000_000
_ORDER = "<" if sys.byteorder == "little" else ">"
_BLOCK_LEAST, _BLOCK_MOST = 1 << 18, 1 << 20
"""Room for a packet of 64 KiB and more, and not too much to be taken at once."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the kernel has let through the filter, and how much of it it had no room for."""

    packets: int = 0
    drops: int = 0


class Blocks:
    """The circle of blocks in memory that is shared with the kernel."""

    def __init__(self, memory: mmap.mmap | bytearray, size: int, interface: Interface, path: Path) -> None:
        self._memory = memory
        self._size = size
        self._interfaces = Interfaces([interface], 1)
        self._path = path
        self._count = len(memory) // size
        self._most = max(1, min(BATCH // size, self._count >> 2))
        self._next = 0
        self._taken = 0
        self._is_losing = False

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to take, and nothing in the block that the kernel is filling."""
        status, packets = struct.unpack_from("=II", self._memory, self._next * self._size + _STATUS)
        return not packets and not status & _IS_OURS

    def take(self) -> Iterator[Batch]:
        """Give the packets that are there, up to a batch's worth of memory; `release` must follow."""
        heads = array(PLACES)
        places: list[int] = []
        ends: list[int] = []
        most = min(self._taken + self._most, self._count)
        while self._taken < most:
            at = self._next * self._size
            status, packets, first = struct.unpack_from("=III", self._memory, at + _STATUS)
            if not status & _IS_OURS:
                break
            self._walk(at + first, packets, heads, places)
            ends.append(len(heads))
            self._is_losing = bool(status & _IS_LOSING)
            self._next = (self._next + 1) % self._count
            self._taken += 1
        # Somewhere in them packets are missing: what can be taken as a whole should not be where they are.
        return self._batches(heads, places, ends if self._is_losing else ends[-1:])

    def _walk(self, at: int, packets: int, heads: array[int], places: list[int]) -> None:
        """Step from packet to packet of a block."""
        read, memory = struct.Struct("=I20xH").unpack_from, self._memory
        for _ in range(packets):
            following, place = read(memory, at)
            heads.append(at + _RECORD)
            places.append(place - _RECORD)
            at += following

    def _batches(self, heads: array[int], places: list[int], ends: list[int]) -> Iterator[Batch]:
        """Give the packets in batches that end at `ends`, and wherever their place behind their headers
        changes, which mostly it never does."""
        begin, buffer = 0, memoryview(self._memory)
        for limit in ends:
            while begin < limit:
                place = places[begin]
                end = begin + 1
                if places[begin:limit].count(place) == limit - begin:
                    end = limit
                while end < limit and places[end] == place:
                    end += 1
                layout = Layout(_ORDER, False, _CAPTURED, place)
                yield Batch(self._path, buffer, heads[begin:end], layout, self._interfaces, 0)
                begin = end

    def release(self) -> None:
        """Give blocks that were taken back to the kernel.

        While it has no room and drops packets, it gets half of the ring at once: what is lost is lost in few
        pieces then, and each costs the streams much time.
        """
        if self._is_losing and self._taken < self._count >> 1 and self._has_more:
            return
        for number in range(self._next - self._taken, self._next):
            at = number % self._count * self._size
            # In this order: `is_empty` must not see the old number in a block that nobody has filled anew.
            struct.pack_into("=I", self._memory, at + _PACKETS, 0)
            struct.pack_into("=I", self._memory, at + _STATUS, 0)
        self._taken = 0

    @property
    def _has_more(self) -> bool:
        status: int = struct.unpack_from("=I", self._memory, self._next * self._size + _STATUS)[0]
        return bool(status & _IS_OURS)


class Ring:
    """The ring of an interface, or of all (ANY); it must be closed. `size` may be less than was asked for."""

    def __init__(self, interface: str, size: int = SIZE) -> None:
        self.interface = interface
        self._is_any = interface == ANY
        self._family = _ARPHRD_NONE if self._is_any else _hardware(interface)
        self.index = 0 if self._is_any else _index(interface)
        self.is_cooked = self._family not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK)
        self._counts = Counts()
        kind = socket.SOCK_DGRAM if self.is_cooked else socket.SOCK_RAW
        try:
            self._socket = socket.socket(socket.AF_PACKET, kind | socket.SOCK_CLOEXEC, 0)
        except PermissionError as error:
            cause = "the right to do so is missing (CAP_NET_RAW); run plg as root"
            raise _cannot(interface, cause) from error
        except OSError as error:
            raise _cannot(interface, error.strerror) from error
        try:
            self._set_up(size)
        except OSError as error:
            self._socket.close()
            raise _cannot(interface, error.strerror) from error
        except CaptureError:
            self._socket.close()
            raise

    def _set_up(self, size: int) -> None:
        self._socket.setblocking(False)
        room = available_memory() // 2
        if size > room:
            # The kernel would take it from whatever runs here, and end that.
            cause = f"a ring of {size:,} bytes is more than half of the memory that is free ({room:,} bytes)"
            raise _cannot(self.interface, cause)
        self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        block = min(max(_BLOCK_LEAST, 1 << (size >> 3 | 1).bit_length() - 1), _BLOCK_MOST)
        self.size = self._allocate(block, max(2, size // block))
        if self._family == _ARPHRD_LOOPBACK:
            self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        if self._is_any:
            self.attach(filters.KEEP_ALL)
        kind = Interface(RAW if self.is_cooked else ETHERNET, _TICKS)
        memory = mmap.mmap(self._socket.fileno(), self.size)
        self.blocks = Blocks(memory, block, kind, Path(self.interface))

    def _allocate(self, block: int, count: int) -> int:
        """Ask for a ring, and for half of it where the kernel has not so much; give what there is."""
        while True:
            request = struct.pack("=7I", block, count, _FRAME, block // _FRAME * count, RETIRE_MS, 0, 0)
            try:
                self._socket.setsockopt(_SOL_PACKET, _RX_RING, request)
            except OSError as error:
                if error.errno != errno.ENOMEM or count <= 2:
                    raise
                count >>= 1
            else:
                return block * count

    def fileno(self) -> int:
        """The descriptor that is readable when there are packets, and in error when the interface is not."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; the memory goes with the last batch that points to it."""
        self._socket.close()

    def attach(self, program: bytes) -> None:
        """Let the kernel drop what a filter (of `compile_filter`) does not let through."""
        program = filters.NO_ECHO + program if self._is_any else program
        code = ctypes.create_string_buffer(program, len(program))
        head = struct.pack("HP", len(program) // filters.INSTRUCTION.size, ctypes.addressof(code))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
        except OSError as error:
            raise _cannot(self.interface, f"the kernel refuses the filter: {error.strerror}") from error

    def start(self, promiscuous: bool = True) -> None:
        """Begin to hear the interface: also what is not for this host, where `promiscuous`."""
        try:
            if promiscuous and self._family == _ARPHRD_ETHER:
                request = struct.pack("=iHH8x", self.index, _PROMISCUOUS, 0)
                self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
            self._bind()
        except OSError as error:
            raise _cannot(self.interface, error.strerror) from error
        if number := self.take_error():
            raise _cannot(self.interface, "it is down" if number == errno.ENETDOWN else os.strerror(number))

    def _bind(self) -> None:
        if not self._is_any:
            self._socket.bind((self.interface, _ETH_P_ALL))
            return
        # struct sockaddr_ll, of no interface: Python only knows those that have a name.
        address = struct.pack("=H2si12x", socket.AF_PACKET, _ETH_P_ALL.to_bytes(2, "big"), 0)
        if ctypes.CDLL(None, use_errno=True).bind(self.fileno(), address, len(address)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def stop(self) -> None:
        """Hear nothing more; what the ring holds already can still be taken."""
        self.attach(filters.DROP_ALL)

    def take_error(self) -> int:
        """Give the error that the socket is in, 0 if in none: ENETDOWN when the interface goes down or
        away."""
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def counts(self) -> Counts:
        """Ask the kernel what it has counted since the start."""
        # Asking sets the kernel's own counts to 0; its first number has the drops in it.
        packets, drops, _frozen = struct.unpack("=3I", self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12))
        self._counts = Counts(self._counts.packets + packets, self._counts.drops + drops)
        return self._counts


def _hardware(interface: str) -> int:
    """Ask what kind of packets an interface has (ARPHRD_...)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as asker:
        try:
            # A longer name would be cut to that of another interface.
            name = interface.encode() if len(interface.encode()) < _NAME_SIZE else b""
            answer = fcntl.ioctl(asker, _SIOCGIFHWADDR, struct.pack(f"{_NAME_SIZE}s24x", name))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise _cannot(interface, error.strerror) from error
            there = ", ".join(name for _, name in socket.if_nameindex())
            raise _cannot(interface, f"there is no such interface (there are: {there})") from error
    family: int = struct.unpack_from("=H", answer, _NAME_SIZE)[0]
    return family


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise _cannot(interface, "there is no such interface any more") from error


def available_memory() -> int:
    """Give how many octets of memory this machine has to give away (proc_meminfo(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) << 10
    raise OSError(errno.ENODATA, "/proc/meminfo does not say how much memory there is")


def _cannot(interface: str, cause: str | None) -> CaptureError:
    return CaptureError(f"cannot capture on {interface}: {cause}")
