"""Many connections: one after another, and all at once."""

from __future__ import annotations

import pytest
from journey import loads
from journey.runs import Place

from needs import needs_tun


@pytest.mark.parametrize("closer", ["client", "server"])
def test_connections_one_after_another(place: Place, closer: str) -> None:
    needs_tun()
    loads.one_after_another(place, 600, closer)


def test_a_thousand_connections_at_once(place: Place) -> None:
    needs_tun()
    loads.at_once(place, 1000)


def test_load_of_all_kinds(place: Place) -> None:
    needs_tun()
    loads.load(place, 6)
