"""How values look."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.cli import words
from netplayground.cli.words import columns, counted, hex_lines, printable, seconds, shortened


def test_counts_have_a_plural() -> None:
    assert counted(1, "byte") == "1 byte"
    assert counted(0, "byte") == "0 bytes"
    assert counted(12345, "process", "processes") == "12,345 processes"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0.000000"), (999, "0.000000"), (1_000, "0.000001"), (12_345_678_999, "12.345678")],
)
def test_times_are_in_seconds_to_the_microsecond(nanoseconds: int, text: str) -> None:
    assert seconds(nanoseconds) == text


def test_columns_are_as_wide_as_their_widest_word() -> None:
    assert list(columns([("a", "bb", "c"), ("aaa", "b", "")])) == ["a    bb  c", "aaa  b"]


@given(st.text(max_size=50))
def test_any_text_is_printed_on_one_line_without_power(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@given(st.text(max_size=50), st.integers(1, 20))
def test_any_text_is_shortened_to_its_width(text: str, width: int) -> None:
    assert len(shortened(text, width)) <= width


@given(st.binary(max_size=100))
def test_any_bytes_come_back_from_their_hex(data: bytes) -> None:
    lines = list(hex_lines(data))
    assert b"".join(bytes.fromhex(line[10:58]) for line in lines) == data
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(data), 16))


def test_hex_has_the_text_beside_it() -> None:
    assert list(hex_lines(b"GET /\r\n\xff")) == [
        "00000000  47 45 54 20 2f 0d 0a ff                          GET /...",
    ]


def test_a_row_has_sixteen_bytes_and_a_dot_for_what_cannot_be_shown() -> None:
    first, second = words.hex_rows(bytes(range(0x18, 0x2A)))
    assert first[0] == 0
    assert first[1].endswith("........ !\"#$%&'")
    assert (second[0], second[1].split()) == (16, ["28", "29", "()"])
