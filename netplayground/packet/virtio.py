"""The virtio network header that a TUN device with IFF_VNET_HDR puts before every packet.

The fields are in the machine's own byte order (Linux, drivers/net/tun.c: legacy virtio without TUN_VNET_LE).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import MalformedPacket

HEADER_LENGTH = 10
NEEDS_CHECKSUM = 1
DATA_VALID = 2
GSO_NONE = 0
GSO_TCPV4 = 1
GSO_TCPV6 = 4
PLAIN = bytes(HEADER_LENGTH)
"""The header of a packet whose checksums are complete and which is not to be segmented."""

_LAYOUT = struct.Struct("=BBHHHH")


@dataclass(frozen=True, slots=True)
class VirtioHeader:
    """What the kernel left for the receiver of a packet to do: a checksum to finish, a size to segment to."""

    flags: int = 0
    gso_type: int = GSO_NONE
    header_length: int = 0
    gso_size: int = 0
    checksum_start: int = 0
    checksum_offset: int = 0


def parse_header(data: bytes | bytearray | memoryview) -> VirtioHeader:
    """Read the header at the start of `data`."""
    if len(data) < HEADER_LENGTH:
        raise MalformedPacket(f"virtio header of {len(data)} octets, {HEADER_LENGTH} expected")
    return VirtioHeader(*_LAYOUT.unpack_from(data))


def emit_header(header: VirtioHeader) -> bytes:
    """Give the header's ten octets."""
    return _LAYOUT.pack(
        header.flags,
        header.gso_type,
        header.header_length,
        header.gso_size,
        header.checksum_start,
        header.checksum_offset,
    )
