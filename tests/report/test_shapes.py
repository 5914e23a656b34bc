"""Values that differ are found whole, and their expressions fit others of their kind."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.replay.compare import shared_length
from netplayground.report.shapes import body_of, emit_literal, find_value

SHAPES = [
    (b"Sat, 21 Nov 2026 10:03:30 GMT", b"Sun, 22 Nov 2026 10:03:31 GMT", b"Mon, 01 Feb 2027 00:00:00 GMT"),
    (b"2026-11-21T10:03:30Z", b"2026-11-21T10:03:31Z", b"2027-01-01 00:00:00.123+01:00"),
    (b"21/Nov/2026:10:03:30 +0000", b"21/Nov/2026:10:04:00 +0000", b"01/Jan/2027:10:04:00 -0130"),
    (b"Sat Nov 21 10:03:30 2026", b"Sat Nov 21 10:03:31 2026", b"Sun Nov  1 10:03:31 2026"),
    (
        b"c9f4a9ca-d0af-4121-a8c9-14e28bd90870",
        b"c9f4a9cb-d0af-4121-a8c9-14e28bd90870",
        b"00000000-0000-4000-8000-00000000000F",
    ),
    (b"99", b"100", b"1234567890"),
    (b"-1.5", b"-10.25", b"-3.125"),
    (b"919.54K", b"1.02M", b"17B"),
    (b"[1, 22, 3]", b"[4, 5]", b"[6, 7, 8, 9]"),
    (b"476b35abefbfeef5", b"476b35abefbfeef6", b"0d87e2bf2c8f8fbe"),
    (b"10:15:07", b"10:15:08", b"23:59:59.999"),
    (b"HfIDz59Nl8eS2qreLT2Fey24", b"CVxX14ou9VBiroGYBAI8eZzm", b"wOBaUqbqQ3l2NIzu3Nus+H00"),
    (b"id-a7", b"id-b9", b"id-zz"),
]


@pytest.mark.parametrize(("one", "other", "third"), SHAPES, ids=lambda value: value.decode())
@pytest.mark.parametrize("behind", [b", and more", b"\r\nmore: 1", b'" ends'])
def test_a_value_is_found_whole_and_others_like_it_fit(
    one: bytes, other: bytes, third: bytes, behind: bytes
) -> None:
    mine, their = b'the value: "' + one + behind, b'the value: "' + other + behind
    at = shared_length(mine, their)
    found = find_value(mine, their, at, lambda i, j: shared_length(mine[i:], their[j:]))
    assert found is not None
    start, end, their_end = found
    assert one.endswith(mine[start:end]) or mine[start:end] in one
    assert mine[end:] == their[their_end:]
    body = body_of([mine[start:end], their[start:their_end]], is_binary=False)
    prefix = start - mine.index(one)
    rest = len(one) - prefix - (end - start)
    assert re.fullmatch(body, third[prefix : len(third) - rest]), body


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), st.booleans())
def test_an_expression_fits_all_that_it_is_made_of(values: list[bytes], is_binary: bool) -> None:
    body = body_of(values, is_binary)
    assert all(re.fullmatch(body, value) for value in values), body
    assert all(32 <= octet < 127 for octet in body)


@given(st.binary(max_size=40))
def test_a_literal_is_itself_in_printable_ascii(octets: bytes) -> None:
    text = emit_literal(octets)
    assert re.fullmatch(text, octets) and all(32 <= octet < 127 for octet in text)
    assert not text.startswith(b"#")
