"""The Internet checksum agrees with the textbook's loop."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet.checksum import internet_checksum, partial_sum, pseudo_header_sum


def by_the_book(data: bytes, start: int = 0) -> int:
    """RFC 1071, section 4.1."""
    total = start
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=80), st.integers(0, 1 << 20))
def test_checksum_is_the_textbooks(data: bytes, start: int) -> None:
    assert internet_checksum(data, start) == by_the_book(data, start)
    assert internet_checksum(memoryview(data), start) == by_the_book(data, start)


@given(st.binary(max_size=40).filter(lambda data: len(data) % 2 == 0), st.binary(max_size=40))
def test_sums_of_parts_add_up(first: bytes, second: bytes) -> None:
    assert internet_checksum(second, partial_sum(first)) == internet_checksum(first + second)


@given(st.binary(min_size=1, max_size=80))
def test_data_with_its_checksum_has_the_checksum_zero(data: bytes) -> None:
    even = data + bytes(len(data) % 2)
    if any(even):
        assert internet_checksum(even + internet_checksum(even).to_bytes(2, "big")) == 0


def test_nothing_but_zeros() -> None:
    assert internet_checksum(b"") == internet_checksum(bytes(8)) == 0xFFFF
    assert internet_checksum(b"\xff\xff") == 0


def test_pseudo_header_is_the_sum_of_its_octets() -> None:
    source, destination = bytes(range(16)), bytes(range(100, 116))
    header = source + destination + (70_000).to_bytes(4, "big") + bytes(3) + b"\x06"
    expected = internet_checksum(header)
    assert internet_checksum(b"", pseudo_header_sum(source, destination, 6, 70_000)) == expected
