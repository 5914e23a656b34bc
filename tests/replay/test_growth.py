"""Whether more bytes could change a match: never denied wrongly, and denied where a person would."""

from __future__ import annotations

import re
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.replay.growth import growing, is_always_empty, needle_of, parse_tree


def is_open(text: bytes, said: bytes) -> bool:
    found = growing(parse_tree(text)).match(said)
    return found is not None and found.end() == len(said)


def _wrapped(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    repeats = st.sampled_from([b"*", b"+", b"?", b"*?", b"+?", b"??", b"{2}", b"{1,2}", b"{2,3}?", b"{0}"])
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(b"".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda ways: b"(?:" + b"|".join(ways) + b")"),
        st.tuples(inner, repeats).map(lambda pair: b"(?:" + pair[0] + b")" + pair[1]),
        inner.map(lambda text: b"(?=" + text + b")"),
        inner.map(lambda text: b"(?!" + text + b")"),
    )


ATOMS = [
    b"a",
    b"b",
    b"ab",
    b"[ab]",
    b"[^a]",
    b".",
    b"\n",
    b"a*",
    b"b+?",
    b"[ab]{1,2}",
    b"a{2}",
    rb"\b",
    rb"\B",
]
ATOMS += [b"$", rb"\Z", b"(?m:$)", b"(?m:^)", b"(?<=a)", b"(?<!b)", b"(?i:A)", rb"(?:(a)|b)(?(1)b|a)"]
TEXTS = st.recursive(st.sampled_from(ATOMS), _wrapped, max_leaves=6)
SAID = st.text("ab\n", max_size=6).map(str.encode)
MORE = [bytes(more) for length in (1, 2, 3) for more in product(b"ab\n", repeat=length)]


@settings(max_examples=400)
@given(TEXTS, st.sampled_from([b"", rb"(a*)%b\1", rb"(?i)(b|ab)%b\1?"]), SAID)
def test_what_is_not_open_is_changed_by_no_more_bytes(text: bytes, around: bytes, said: bytes) -> None:
    text = around % text if around else text
    if is_open(text, said):
        return
    pattern = re.compile(text)
    found = pattern.match(said)
    for more in MORE:
        after = pattern.match(said + more)
        assert (found and found.span()) == (after and after.span())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (rb"Date: .*", b"Dates"),
        (rb"Date: .*", b"Date: Monday\r\n"),
        (rb"[0-9]+", b"123,"),
        (rb"[0-9]{4}", b"12345"),
        (rb"(?s)BEGIN.*?END", b"BEGIN 1 END "),
        (rb"a(?:b*c)?", b"abbbd"),
        (rb"(?:ab)*", b"ababb"),
        (rb"ab(?=c)", b"abd"),
        (rb"ab(?!c)", b"abd"),
        (rb"(?m)^id .*$", b"id 1\n"),
        (rb"\bab\b", b"ab "),
        (rb"(?i)date: [^\r\n]+", b"DATE: x\r"),
        (rb"(a+)b\1c", b"abacd"),
    ],
)
def test_what_is_certain_is_not_open(text: bytes, said: bytes) -> None:
    assert not is_open(text, said)
    assert all(is_open(text, said[:end]) for end in range(len(said) - 1))


@pytest.mark.parametrize(
    ("text", "needle", "begins"),
    [
        (rb"Date: .*", b"Date: ", 0),
        (rb"(?m)^(?<=\n)Date: .*", b"Date: ", 0),
        (rb"(?<=Date: ).*", b"Date: ", 6),
        (rb"(?<=Date: )x", b"Date: ", 6),
        (rb"[0-9]{4}-[0-9]{2}T", b"-", -4),
        (rb"(?:a|b)\d(?:x|yy)ms", b"ms", None),
        (rb"(?:a|b)\dms", b"ms", -2),
        (rb"ab(?<=xyab)\d", b"xyab", 2),
        (rb"[0-9]+ms", b"ms", None),
        (rb"[0-9]+(?<=99)s", b"99", None),
        (rb"a(?<=xya)", b"xya", 2),
        (rb"id=[0-9]+&name=", b"&name=", None),
        (rb"(?i)date", b"", None),
        (rb"ab|cd", b"", None),
        (rb"(?:ab)?c", b"c", None),
    ],
)
def test_the_needle_is_found_with_each_match(text: bytes, needle: bytes, begins: int | None) -> None:
    found, where = needle_of(parse_tree(text))
    assert found == needle
    assert where == begins


@given(TEXTS, SAID)
def test_a_match_has_its_needle(text: bytes, said: bytes) -> None:
    needle, begins = needle_of(parse_tree(text))
    for found in re.finditer(text, said):
        if begins is None:
            assert needle in said[max(0, found.start() - len(needle)) :]
        else:
            assert said.startswith(needle, found.start() - begins)


@given(TEXTS, SAID)
def test_what_is_always_empty_never_takes_a_byte(text: bytes, said: bytes) -> None:
    if is_always_empty(parse_tree(text)):
        assert not any(found.group() for found in re.finditer(text, said))
