"""Work one step ahead and one behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from netplayground.capture.ahead import Ahead, Behind


def test_items_come_in_order_and_at_most_two_are_made_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    ahead = Ahead(numbers())
    for number in ahead:
        assert number == len(made) - 1 or made[number] == number
        assert len(made) <= number + 3
    assert made == list(range(10))
    with pytest.raises(StopIteration):
        next(ahead)
    ahead.close()


def test_what_fails_ahead_fails_where_it_is_asked_for() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    ahead = Ahead(numbers())
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            next(ahead)
    ahead.close()


def test_closing_stops_what_is_ahead() -> None:
    def numbers() -> Iterator[int]:
        while True:
            yield 1

    ahead = Ahead(numbers())
    assert next(ahead) == 1
    ahead.close()


def test_work_behind_is_done_one_after_another() -> None:
    begun, done = threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        done.append(number)

    behind = Behind()
    for number in range(5):
        behind.do(work, number)
    assert begun.wait(10)
    behind.wait()
    assert done == [0, 1, 2, 3, 4]
    behind.close()


def test_what_fails_behind_fails_at_every_wait() -> None:
    def work() -> None:
        raise OSError("the disk is full")

    behind = Behind()
    behind.do(work)
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is full"):
            behind.wait()
    with pytest.raises(OSError, match="the disk is full"):
        behind.do(work)
    behind.close()
