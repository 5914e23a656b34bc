"""The Internet checksum (RFC 1071) over bytes, and the pseudo-header sums of TCP, UDP and ICMPv6."""

from __future__ import annotations

Octets = bytes | bytearray | memoryview


def partial_sum(data: Octets) -> int:
    """Sum `data` as 16-bit big-endian words; add such sums together and hand them to `internet_checksum`.

    2**16 is 1 modulo 65535, so one remainder of the whole number is the folded ones' complement sum (RFC
    1071, section 2). A loop over words would be thirty times slower.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return number % 65535 or (65535 if number else 0)


def internet_checksum(data: Octets, start: int = 0) -> int:
    """Give the checksum to put into a header; over data that holds its right checksum it is 0."""
    total = partial_sum(data) + start
    return 65535 - (total % 65535 or (65535 if total else 0))


def pseudo_header_sum(source: Octets, destination: Octets, protocol: int, length: int) -> int:
    """Sum the pseudo-header of IPv4 (RFC 9293, 3.1) or IPv6 (RFC 8200, 8.1); the two differ in no word's
    value."""
    return partial_sum(source) + partial_sum(destination) + protocol + (length >> 16) + (length & 0xFFFF)
