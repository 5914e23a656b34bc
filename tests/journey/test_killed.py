"""`kill -9` of plg in the middle of load."""

from __future__ import annotations

import random

from journey import loads
from journey.runs import Place

from needs import needs_tun


def test_a_killed_plg_leaves_nothing_but_a_dump_of_all_that_was_heard(place: Place) -> None:
    needs_tun()
    loads.killed_under_load(place, 3, random.Random())
