from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from netplayground.cli.lines import LONGEST, PATIENCE_S, Lines, name_prefixes

PREFIXES = [b"db  | ", b"web | ", b""]
DB, WEB, PLG = 0, 1, 2


def lines(is_terminal: bool = False) -> Lines:
    return Lines(PREFIXES, is_terminal)


def test_names_are_as_wide_as_the_longest() -> None:
    assert name_prefixes(["db", "visitor"], in_colour=False) == [b"db      | ", b"visitor | "]


def test_a_colour_begins_and_ends_with_the_name() -> None:
    first, second = name_prefixes(["db", "web"], in_colour=True)
    assert first == b"\x1b[0;36mdb  | \x1b[0m"
    assert second == b"\x1b[0;33mweb | \x1b[0m"


def test_each_line_has_its_speaker() -> None:
    assert lines().take(DB, b"one\n\ntwo\n", 0) == b"db  | one\ndb  | \ndb  | two\n"


def test_a_line_goes_out_when_it_is_whole() -> None:
    stream = lines()
    assert stream.take(DB, b"be", 0) == b""
    assert stream.take(WEB, b"other\n", 0.01) == b"web | other\n"
    assert stream.take(DB, b"gun\nnext", 0.02) == b"db  | begun\n"


def test_a_prompt_goes_out_after_a_moment() -> None:
    stream = lines()
    stream.take(DB, b"name? ", 5.0)
    assert stream.next_time() == 5.0 + PATIENCE_S
    assert stream.show_waiting(5.0 + PATIENCE_S / 2) == b""
    assert stream.show_waiting(5.0 + PATIENCE_S) == b"db  | name? "
    assert stream.next_time() is None


def test_an_open_line_goes_on_without_the_name() -> None:
    stream = lines()
    stream.take(DB, b"name? ", 0)
    stream.show_waiting(1)
    assert stream.take(DB, b"none\nbye\n", 2) == b"none\ndb  | bye\n"


def test_an_open_line_ends_where_another_speaks() -> None:
    stream = lines()
    stream.take(DB, b"name? ", 0)
    stream.show_waiting(1)
    assert stream.take(PLG, b"plg: word\n", 2) == b"\nplg: word\n"
    assert stream.take(DB, b"none\n", 3) == b"db  | none\n"


def test_time_runs_from_the_first_byte_that_waits() -> None:
    stream = lines()
    for at in range(10):
        stream.take(DB, b".", at / 100)
    assert stream.next_time() == PATIENCE_S


def test_a_last_line_without_its_end_gets_one() -> None:
    stream = lines()
    stream.take(DB, b"last", 0)
    assert stream.end(DB) == b"db  | last\n"
    stream.take(WEB, b"shown", 0)
    stream.show_waiting(1)
    assert stream.end(WEB) == b"\n"
    assert stream.end(PLG) == b""


def test_a_line_without_end_goes_out_in_pieces() -> None:
    stream = lines()
    data = b"x" * (LONGEST + 1)
    assert stream.take(DB, data, 0) == b"db  | " + data
    assert stream.take(DB, data, 0) == data
    assert stream.next_time() is None


def test_a_return_does_not_write_over_the_name_on_a_terminal() -> None:
    stream = lines(is_terminal=True)
    assert stream.take(DB, b"10 %\r20 %\r\n", 0) == b"db  | 10 %\rdb  | 20 %\r\n"


def test_a_last_return_waits_for_what_follows() -> None:
    stream = lines(is_terminal=True)
    stream.take(DB, b"10 %\r", 0)
    assert stream.show_waiting(1) == b"db  | 10 %"
    assert stream.next_time() is None
    stream.take(DB, b"20 %\r", 2)
    assert stream.show_waiting(3) == b"\rdb  | 20 %"
    assert stream.take(DB, b"\n", 4) == b"\r\n"


def test_elsewhere_a_return_is_a_byte_like_any_other() -> None:
    assert lines().take(DB, b"10 %\r20 %\r\n", 0) == b"db  | 10 %\r20 %\r\n"


SAID = st.lists(
    st.tuples(st.sampled_from([DB, WEB]), st.binary(max_size=20) | st.sampled_from([b"\n", b"\r", b"a\r\n"])),
    max_size=40,
)


@given(SAID, st.booleans())
def test_no_byte_is_lost_and_no_line_has_two_speakers(said: list[tuple[int, bytes]], is_slow: bool) -> None:
    stream, out = lines(), b""
    for number, (speaker, data) in enumerate(said):
        out += stream.take(speaker, data, float(number))
        if is_slow:
            out += stream.show_waiting(float(number + 1))
    out += stream.end(DB) + stream.end(WEB)
    for speaker, prefix in ((DB, b"db  | "), (WEB, b"web | ")):
        own = b"".join(line[len(prefix) :] for line in out.split(b"\n") if line.startswith(prefix))
        whole = b"".join(data for who, data in said if who == speaker)
        assert own == whole.replace(b"\n", b"")
    assert all(re.match(rb"db  \| |web \| ", line) for line in out.split(b"\n")[:-1])
    assert out.endswith(b"\n") or not out


@given(SAID)
def test_whole_lines_stay_as_they_are(said: list[tuple[int, bytes]]) -> None:
    stream, out = lines(), b""
    for speaker, data in said:
        out += stream.take(speaker, data, 0)
    out += stream.end(DB) + stream.end(WEB)
    for speaker, prefix in ((DB, b"db  | "), (WEB, b"web | ")):
        own = [line[len(prefix) :] for line in out.split(b"\n") if line.startswith(prefix)]
        text = b"".join(data for who, data in said if who == speaker)
        assert own == (text.removesuffix(b"\n").split(b"\n") if text else [])
