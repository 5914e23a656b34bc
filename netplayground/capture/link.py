"""From a captured frame to its IP packet: the link types of tcpdump on Linux, and raw IP.

https://www.tcpdump.org/linktypes.html has the numbers.
"""

from __future__ import annotations

from netplayground.packet.checksum import Octets

NULL, ETHERNET, RAW_OLD, RAW_BSD, RAW = 0, 1, 12, 14, 101
LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2 = 108, 113, 228, 229, 276

ETHERNET_HEADER = 14
ETHERTYPE_V4, ETHERTYPE_V6 = 0x0800, 0x86DD
VLANS = frozenset((0x8100, 0x88A8, 0x9100, 0x9200))
"""802.1Q, 802.1ad (QinQ), and what was used for QinQ before that."""
_PPPOE, _PPP = 0x8864, {0x0021: ETHERTYPE_V4, 0x0057: ETHERTYPE_V6}

HEADERS = {
    NULL: (4, None),
    LOOP: (4, None),
    ETHERNET: (ETHERNET_HEADER, 12),
    RAW_OLD: (0, None),
    RAW_BSD: (0, None),
    RAW: (0, None),
    IPV4: (0, None),
    IPV6: (0, None),
    LINUX_SLL: (16, 14),
    LINUX_SLL2: (20, 0),
}
"""Length of the link's header, and where in it the ethertype is; None: the packet's first octet tells all.

NULL and LOOP have an address family there, whose number and byte order are those of the capturing system.
"""


def find_ip(link_type: int, buffer: Octets, begin: int, end: int) -> int:
    """Say where the IP packet of a frame begins, -1 if it has none."""
    header, place = HEADERS[link_type]
    at = begin + header
    if place is not None:
        if at > end:
            return -1
        at = _after_tags(buffer, begin + place, at, end)
    # An IP packet's version has the last word, whatever went before.
    return at if 0 <= at < end and buffer[at] >> 4 in (4, 6) else -1


def _after_tags(buffer: Octets, place: int, at: int, end: int) -> int:
    """Step over VLAN tags and a PPPoE session's header; -1 where it is not IP that follows."""
    kind = buffer[place] << 8 | buffer[place + 1]
    while kind in VLANS and at + 4 <= end:
        kind = buffer[at + 2] << 8 | buffer[at + 3]
        at += 4
    if kind == _PPPOE and at + 8 <= end:
        kind = _PPP.get(buffer[at + 6] << 8 | buffer[at + 7], 0)
        at += 8
    return at if kind in (ETHERTYPE_V4, ETHERTYPE_V6) else -1
