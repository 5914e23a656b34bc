"""Octets to values and back: virtio header, IPv4, IPv6, TCP, UDP, ICMP, checksums.

Nothing in this room holds a descriptor, a clock or an environment. A `parse_` function gives a value or
raises `MalformedPacket`; an `emit_` function gives octets with complete checksums unless it says otherwise.
"""

from __future__ import annotations


class MalformedPacket(ValueError):
    """The octets are not what they claim to be; the message says where."""
