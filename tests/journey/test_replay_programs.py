"""Real programs, recorded once and replayed: all live, the server canned, the client canned.

Once each here; fifty times in `scripts/soak replay-50`.
"""

from __future__ import annotations

import pytest
from journey import programs, replays
from journey.runs import PACKAGE_PARENT, Place


def test_the_readme_prints_what_is_ignored_here() -> None:
    rules = [rule for name, rule in vars(programs).items() if name.startswith("IGNORE_")]
    readme = (PACKAGE_PARENT / "README.md").read_text().replace(r"\|", "|")
    assert rules and [rule for rule in rules if f"'{rule}'" not in readme] == []


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_a_program_is_replayed_as_it_was_recorded(place: Place, name: str) -> None:
    replays.played(place, programs.make(name, place))


@pytest.mark.parametrize("name", programs.CROWDS)
def test_a_crowd_whose_order_changes_gets_what_each_one_got(place: Place, name: str) -> None:
    modes = (replays.Mode.ALL_LIVE, replays.Mode.SERVER_CANNED)
    replays.played(place, programs.make(name, place), modes=modes)
