"""What a test's mark says, and where its dump lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.api.staging import Wanted, dump_path
from netplayground.errors import UsageError

FOLDER = Path("/tests")


def test_a_dump_lies_beside_its_test_by_module_and_name() -> None:
    assert dump_path(FOLDER, "test_db", "test_it") == FOLDER / "dumps/test_db/test_it.traffic"
    assert dump_path(FOLDER, "test_db", "TestX.test_it[1-a]").name == "TestX.test_it[1-a].traffic"


def test_names_that_become_alike_are_told_apart() -> None:
    names = ["t[a/b]", "t[a_b]", "t[a:b]", f"t[{'x' * 200}]", f"t[{'x' * 201}]"]
    paths = {dump_path(FOLDER, "m", name) for name in names}
    assert len(paths) == len(names)


@given(st.text(min_size=1))
def test_any_name_is_that_of_one_file_in_the_folder(name: str) -> None:
    path = dump_path(FOLDER, "m", name)
    assert path.parent == FOLDER / "dumps" / "m" and path.name not in (".", "..")
    assert len(path.name.encode()) <= 255 and path.name.isascii() and "\0" not in path.name
    assert dump_path(FOLDER, "m", name + "x") != path


def test_a_mark_says_who_is_there_who_lives_and_what_else_is_wanted() -> None:
    wanted = Wanted.of("db: serve", "api: run", live="api", ready=["db:80"], speed=2)
    assert wanted.commands == {"db": "serve", "api": "run"}
    assert (wanted.live, wanted.ready, wanted.options) == (("api",), ("db:80",), {"speed": 2})
    assert Wanted.of().commands == {}


@pytest.mark.parametrize(
    "words", [{"live": ["c"]}, {"ready": "c"}, {"ready": "db:x"}, {"replay": "x"}, {"spede": 1}, {"check": 1}]
)
def test_words_that_mean_nothing_are_refused(words: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot"):
        Wanted.of("db: serve", **words)
