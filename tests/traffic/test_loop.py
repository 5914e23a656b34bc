"""The loop: what is called when, and what is closed when."""

from __future__ import annotations

import os
import time
from select import EPOLLIN

from netplayground.traffic.loop import Loop


def test_timers_run_in_the_order_of_their_times_not_of_their_making() -> None:
    loop, seen = Loop(), list[str]()
    now = time.monotonic_ns()

    def second() -> None:
        seen.append("second")
        loop.stop()

    loop.call_at(now + 2_000_000, second)
    loop.call_at(now + 1_000_000, lambda: seen.append("first"))
    loop.run()
    assert seen == ["first", "second"]
    loop.close()


def test_a_cancelled_timer_does_not_run() -> None:
    loop, seen = Loop(), list[str]()
    loop.call_at(0, lambda: seen.append("cancelled")).cancel()
    loop.call_at(1, loop.stop)
    loop.run()
    assert seen == []
    loop.close()


def test_a_descriptor_is_closed_after_the_batch_and_its_handler_not_called_again() -> None:
    loop, seen = Loop(), list[str]()
    readers = [os.fdopen(pair[0], "rb", buffering=0) for pair in _two_readable_pipes()]

    def close_both(_events: int) -> None:
        seen.append("handler")
        for reader in readers:
            loop.close_later(reader.fileno(), reader)
        assert not any(reader.closed for reader in readers)
        loop.stop()

    for reader in readers:
        loop.add(reader.fileno(), EPOLLIN, close_both)
    loop.run()
    assert seen == ["handler"]
    assert all(reader.closed for reader in readers)
    loop.close()


def test_what_is_asked_for_again_runs_in_the_next_round_after_the_ready_descriptors() -> None:
    loop, seen = Loop(), list[str]()
    [(reading, _), (other, _)] = _two_readable_pipes()
    os.close(other)

    def read(_events: int) -> None:
        seen.append("read")
        os.read(reading, 1)

    def again() -> None:
        seen.append("again")
        loop.stop()

    loop.again(again)
    loop.add(reading, EPOLLIN, read)
    loop.run()
    assert seen == ["read", "again"]
    loop.close()
    os.close(reading)


def test_what_puts_itself_off_runs_once_a_round() -> None:
    loop, rounds = Loop(), list[int]()

    def put_off() -> None:
        rounds.append(loop.round)
        if len(rounds) == 4:
            loop.stop()
        else:
            loop.again(put_off)

    loop.call_at(0, put_off)
    loop.run()
    assert rounds == sorted(set(rounds))
    loop.close()


def test_what_is_buffered_is_handed_on_before_the_loop_sleeps() -> None:
    seen: list[str] = []
    reading, writing = os.pipe()

    def handed_on() -> None:
        seen.append("sleep")
        os.write(writing, b"x")

    loop = Loop(before_look=lambda: seen.append("look"), before_sleep=handed_on)
    loop.add(reading, EPOLLIN, lambda _events: loop.stop())
    loop.run()
    assert seen == ["look", "sleep"]
    loop.close()
    os.close(reading)
    os.close(writing)


def _two_readable_pipes() -> list[tuple[int, int]]:
    pipes = [os.pipe(), os.pipe()]
    for _, writing in pipes:
        os.write(writing, b"x")
        os.close(writing)
    return pipes
