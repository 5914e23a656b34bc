"""The index's octets: round trips, and sizes that are checked before they are believed."""

from __future__ import annotations

import zlib
from array import array

from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump import blocks, index

wide = st.integers(0, 2**64 - 1)
word = st.integers(0, 2**32 - 1)
entries = st.builds(
    index.Entry,
    offset=wide,
    length=word,
    what=st.binary(min_size=4, max_size=4),
    crc=word,
    count=word,
    facts=word,
    datagrams=word,
    first=wide,
    last=wide,
)
footers = st.builds(
    index.Footer,
    *[wide] * 8,
    directories=st.lists(st.tuples(wide, word), max_size=5).map(tuple),
)


def body(block: bytes) -> bytes:
    return block[blocks.CUSTOM_HEADER : -4]


@given(base=wide, events=st.lists(st.tuples(word, word), max_size=50))
def test_event_page_round_trip(base: int, events: list[tuple[int, int]]) -> None:
    log = index.EventLog(base)
    for identity, offset in events:
        log.ids.append(identity)
        log.offsets.append(offset)
    found, ids, offsets = index.parse_event_page(body(index.emit_event_page(log)))
    assert (found, list(zip(ids, offsets, strict=True))) == (base, events)


@given(st.lists(word, max_size=50))
def test_sum_page_round_trip(sums: list[int]) -> None:
    assert list(index.parse_sum_page(body(index.emit_sum_page(array("I", sums))))) == sums


@given(st.lists(entries, max_size=5))
def test_directory_round_trip(lines: list[index.Entry]) -> None:
    assert index.parse_directory(b"".join(map(index.emit_entry, lines))) == lines


@given(footer=footers, tail=st.binary(max_size=40))
def test_footer_round_trip_and_its_sum_covers_the_tail(footer: index.Footer, tail: bytes) -> None:
    block = index.emit_footer(footer, tail)
    assert index.parse_footer(body(block)) == footer
    assert int.from_bytes(block[-8:-4], "big") == zlib.crc32(tail + block[:-8])
    assert int.from_bytes(block[-4:], "big") == len(block)


@given(st.binary(max_size=120))
def test_any_octets_are_a_page_or_a_value_error(data: bytes) -> None:
    for parse in (index.parse_event_page, index.parse_sum_page, index.parse_directory, index.parse_footer):
        try:
            parse(data)
        except ValueError:
            continue


def test_an_event_log_keeps_its_arrays() -> None:
    log = index.EventLog(0)
    ids, offsets = log.ids, log.offsets
    ids.append(1)
    offsets.append(2)
    log.clear(100)
    assert (log.ids, log.offsets, log.base) == (ids, offsets, 100)
    assert log.ids is ids and not ids and not offsets
