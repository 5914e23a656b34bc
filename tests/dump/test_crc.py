"""CRC-32 is the same function, whoever computes it."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump.crc import crc32


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1))
def test_crc_is_that_of_zlib(data: bytes, start: int) -> None:
    assert crc32(data, start) == zlib.crc32(data, start)
    assert crc32(memoryview(data)) == zlib.crc32(data)
