"""What goes to which conversation, and which of them are known to be mixed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump.lanes import PIECE, Lane, Sorter, cut_pieces

ENDS = b"\x0a\0\0\2", b"\x0a\0\0\1", 80


def sort(text: str) -> tuple[list[int], set[int]]:
    """Give the owner of each record, and who is mixed. `c`, `s`: a side says something; `C`, `S`: it shuts
    down; blanks are for the eye."""
    sorter, lane = Sorter(), Lane(ENDS)
    for offset, letter in enumerate(text.replace(" ", "")):
        sorter.take(lane, "cs".index(letter.lower()), int(letter.islower()), 1, offset)
    sorter.finish(lane, len(text))
    assert len(sorter.records) == len(sorter.starts)
    return list(sorter.owners), lane.mixed


@pytest.mark.parametrize(
    ("text", "owners"),
    [
        ("csSC csCS c", "0000 1111 2"),
        ("sSC sSC", "000 111"),
        ("cCsS cCsS", "0000 1111"),
        # The server shuts the first down when the second has begun.
        ("csC c S sCS", "000 1 0 111"),
        # Nobody says anything, once before the first that does.
        ("CS csCS", "00 1111"),
    ],
)
def test_one_after_another_are_told_apart(text: str, owners: str) -> None:
    assert sort(text) == ([int(digit) for digit in owners.replace(" ", "")], set())


@pytest.mark.parametrize(
    ("text", "mixed"),
    [
        # Both answers go to the first, and that there were two is seen by the second shutdown.
        ("ccss SSCC", {0, 1}),
        ("ccss SCSC", {0, 1}),
        # The second answer begins a conversation, as no client's word does.
        ("ccs SC sSC", {0, 1}),
        # Whose answer?
        ("cC cC ss SS", {0, 1}),
        ("cC cC cC s SSS", {0, 1, 2}),
        ("csCS cC cC s SS csCS", {1, 2}),
        # The silent one in between may have said what the others did.
        ("csCS CS csCS", {0, 1}),
    ],
)
def test_those_that_may_be_mixed_are_named(text: str, mixed: set[int]) -> None:
    assert sort(text)[1] == mixed


@given(
    st.lists(
        st.text("cs", min_size=1, max_size=5).flatmap(
            lambda said: st.sampled_from(["C", "S"]).map(
                lambda first: "c" + said + first + ("S" if first == "C" else "C")
            )
        ),
        max_size=8,
    )
)
def test_orderly_conversations_in_a_row_come_back(conversations: list[str]) -> None:
    owners = [number for number, text in enumerate(conversations) for _ in text]
    assert sort("".join(conversations)) == (owners, set())


@given(st.text("csCS", max_size=60))
def test_each_side_says_nothing_after_its_shutdown(text: str) -> None:
    owners, mixed = sort(text)
    for identity in set(owners):
        mine = "".join(letter for letter, owner in zip(text, owners, strict=True) if owner == identity)
        for side in "cs":
            said = "".join(letter for letter in mine if letter.lower() == side)
            assert side.upper() not in said[:-1]
    assert mixed <= set(owners)
    assert len(mixed) != 1


@given(st.integers(0, 5 * PIECE))
def test_pieces_are_all_of_it(length: int) -> None:
    at = 0
    for place, piece in cut_pieces(length):
        assert place == at and 0 < piece <= PIECE
        at += piece
    assert at == length


def test_thousands_at_once_take_no_longer_each() -> None:
    """Each word of a client would be compared with all open ones: a minute, where this takes a moment."""
    count = 50_000
    owners, mixed = sort("C" * count + "s" * count + "S" * count)
    assert owners == [*range(count), *[0] * count, *range(count)]
    assert mixed == set(range(count))
