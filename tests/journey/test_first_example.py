"""The first example: as root and as an ordinary user."""

from __future__ import annotations

from journey import loads
from journey.ordinary import as_nobody
from journey.runs import Place

from needs import needs_tun


def test_redis_answers_ping_as_the_one_who_tests(place: Place) -> None:
    needs_tun()
    loads.first_example(place, 3)


def test_redis_answers_ping_as_an_ordinary_user(place: Place) -> None:
    needs_tun()
    loads.first_example(place, 3, before=as_nobody(place))
