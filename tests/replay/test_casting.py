"""Which process each command of a replay stands for."""

from __future__ import annotations

import re

import pytest
from replay.world import TapeWriter

from netplayground.errors import UsageError
from netplayground.replay.casting import cast

RECORDED = [life.process for life in TapeWriter("db", "app", "web").tape.lives]


def unnamed(*commands: str) -> list[tuple[str, str]]:
    return [(f"p{position}", command) for position, command in enumerate(commands, 1)]


def test_by_position_a_dash_is_canned() -> None:
    assert cast(RECORDED, unnamed("serve", "-", "look"), are_named=False) == ["serve", "-", "look"]


def test_by_name_in_any_order_and_who_is_not_named_is_canned() -> None:
    assert cast(RECORDED, [("web", "look"), ("db", "-")], are_named=True) == ["-", "-", "look"]


@pytest.mark.parametrize(
    ("commands", "are_named", "message"),
    [
        (unnamed("serve"), False, "cannot replay 1 command: the recording has 3 processes (db, app, web)"),
        (unnamed("a", "b", "c", "d"), False, "cannot replay 4 commands"),
        (unnamed("-", "-", "-"), False, "cannot replay db, app, web: all are canned, one at least must run"),
        ([("cache", "run")], True, "cannot replay cache: no such process in the recording, there is db, app"),
        ([("db", "-")], True, "all are canned"),
    ],
)
def test_words_that_do_not_fit_are_refused_with_the_names(
    commands: list[tuple[str, str]], are_named: bool, message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        cast(RECORDED, commands, are_named)
