"""The shop's own tests, as its developers would write them: copied as test_shop.py beside the service and run
by pytest with the plugin. The service is live in every replay, its database is played from the dumps."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netplayground import Playground

HERE = Path(__file__).parent
pytestmark = pytest.mark.plg(
    "db: redis-server --bind 0.0.0.0 --protected-mode no --save ''",
    f"shop: exec {sys.executable} {HERE}/service.py 8000 db 6379",
    ready=["db:6379", "shop"],
    live=["shop"],
    ignore=[r"Date: [^\r\n]*"],
)
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(playground: Playground) -> Iterator[Ask]:
    def ask(path: str, order: dict[str, object] | None = None) -> tuple[int, Any]:
        data = None if order is None else json.dumps(order).encode()
        try:
            with urllib.request.urlopen(f"http://shop:8000{path}", data, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    yield ask
    assert ask("/orders/last")[0] == 404  # the playground is still there when its users are torn down


def test_an_order_is_kept(ask: Ask) -> None:
    assert ask("/orders", {"item": "tea", "count": 2}) == (201, {"id": 1})
    assert ask("/orders/1") == (200, {"item": "tea", "count": "2"})


@pytest.mark.parametrize("count", [0, -1])
def test_an_order_of_nothing_is_refused(ask: Ask, count: int) -> None:
    assert ask("/orders", {"item": "tea", "count": count})[0] == 400


class TestMissingOrders:
    def test_is_not_found(self, ask: Ask) -> None:
        assert ask("/orders/7") == (404, {"error": "no such order"})


def test_the_database_hears_of_each_order_once(ask: Ask, playground: Playground) -> None:
    ask("/orders", {"item": "milk", "count": 1})
    (said,) = playground.conversations(client="shop", server="db")
    assert said.sent.count(b"HSET") == 1
