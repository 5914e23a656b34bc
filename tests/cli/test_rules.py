"""Files of rules on a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplayground.cli.rules import with_files
from netplayground.errors import PlaygroundError, UsageError


def test_words_come_first_and_then_what_the_files_hold(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"# \xff\nfirst\xff\n--echo 0:2@53\n")
    two.write_bytes(b"second\n")
    ignore, echo = with_files(["word"], ["0:4@7"], [one, two])
    assert ignore == ("word", "first\udcff", "second") and echo == ("0:4@7", "0:2@53")


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlaygroundError, match=r"cannot read .*/none: No such file or directory"):
        with_files([], [], [tmp_path / "none"])
    with pytest.raises(PlaygroundError, match="Is a directory"):
        with_files([], [], [tmp_path])


def test_a_file_that_is_no_file_of_rules_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 24) + 1)
    with pytest.raises(UsageError, match="longer than 16 MiB"):
        with_files([], [], [tmp_path / "large"])
