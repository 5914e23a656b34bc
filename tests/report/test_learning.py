"""Rules are learned from what differs between recordings, and hold for the next one too."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from replay.world import CLIENT, SERVER, TapeWriter
from report.altered import altered, difference

from netplayground.replay.options import ReplayOptions
from netplayground.replay.tape import Tape
from netplayground.report.lessons import Lesson, learn

APP, DB = 0, 1
DATES = ("Sat, 21 Nov 2026 10:03:3{}", "Sun, 22 Nov 2026 23:59:5{}", "Mon, 01 Feb 2027 00:00:0{}")

Answer = Callable[[random.Random, int], bytes]


def run(seed: int, answer: Answer, count: int = 6) -> Tape:
    """A good run: questions that are the same in each, in an order of its own, and answers."""
    dice, writer = random.Random(seed), TapeWriter("app", "db")
    order = list(range(count))
    dice.shuffle(order)
    for number in order:
        connection = writer.after(1).connect(APP, DB)
        writer.after(1).say(connection, CLIENT, b"GET /%d\r\n\r\n" % number)
        writer.after(1).say(connection, SERVER, answer(dice, number)).fin(connection, CLIENT, SERVER)
    return writer.end()


def lesson_of(*tapes: Tape, **options: Any) -> Lesson:
    loads = [lambda tape=tape: altered(tape) for tape in tapes]
    return learn(loads[0], loads[1:], ReplayOptions(**options))


def date(dice: random.Random, number: int) -> bytes:
    when = dice.choice(DATES).format(dice.randrange(10))
    return f"HTTP/1.0 200 OK\r\nDate: {when} GMT\r\nServer: x\r\n\r\nbody {number}\n".encode()


def service(dice: random.Random, number: int) -> bytes:
    said: dict[str, object] = {
        "id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "time": 1_795_000_000 + dice.random() * 1e6,
        "number": number,
        "took_ms": dice.randrange(1, 3000),
        "token": f"{dice.getrandbits(128):032x}",
        "items": [dice.randrange(10 ** dice.randrange(1, 7)) for _ in range(dice.randrange(1, 5))],
        "when": f"2026-11-21T10:{dice.randrange(60):02d}:{dice.randrange(60):02d}Z",
    }
    body = json.dumps(said).encode()
    return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def key_data(dice: random.Random, number: int) -> bytes:
    """As PostgreSQL's server greets: its process, and a secret."""
    process, secret = 20_000 + dice.randrange(200), dice.getrandbits(32)
    return (
        b"R\0\0\0\x08\0\0\0\0"
        + b"K\0\0\0\x0c"
        + process.to_bytes(4, "big")
        + secret.to_bytes(4, "big")
        + b"Z\0\0\0\x05I#%d" % number
    )


@pytest.mark.parametrize(
    ("answer", "count"), [(date, 1), (service, 7), (key_data, 1)], ids=["date", "service", "key"]
)
@pytest.mark.parametrize("seed", range(4))
def test_rules_hold_for_a_run_that_they_were_not_learned_from(answer: Answer, count: int, seed: int) -> None:
    tapes = [run(3 * seed + each, answer) for each in range(3)]
    lesson = lesson_of(*tapes[:2])
    assert lesson.is_enough and len(lesson.rules.ignore) == count, lesson.rules
    assert difference(tapes[0], tapes[2], *lesson.rules.ignore).is_same, lesson.rules.ignore
    assert not any(difference.verdict.warnings for difference in lesson.differences)


def test_one_rule_serves_all_connections_alike() -> None:
    lesson = lesson_of(run(1, date, 40), run(2, date, 40))
    assert lesson.rules.ignore == (
        rb"(?<=Date: )[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT(?=\r)",
    )
    assert len(lesson.comments) == 1 and "app -> db:80, server: 'S" in lesson.comments[0][0]


def test_rules_do_not_cover_what_is_said() -> None:
    """A difference that is none of those that were learned is found under the rules."""
    lesson = lesson_of(run(1, service), run(2, service))
    wrong = run(3, lambda dice, number: service(dice, number).replace(b'"number": 4', b'"number": 5'))
    verdict = difference(run(1, service), wrong, *lesson.rules.ignore).verdict
    assert verdict.divergence_count == 1


def test_recordings_that_say_the_same_need_no_rule() -> None:
    lesson = lesson_of(run(1, lambda dice, number: b"same"), run(2, lambda dice, number: b"same"))
    assert lesson.is_enough and not lesson.rules.ignore and not lesson.rules.echo


def test_rules_that_are_there_are_not_learned_again() -> None:
    lesson = lesson_of(run(1, date), run(2, date), ignore=(rb"Date: [^\r\n]*",))
    assert lesson.is_enough and not lesson.rules.ignore


def test_more_runs_make_rules_wider() -> None:
    def tape(number: bytes) -> Tape:
        return run(1, lambda dice, _: b"id=" + number + b"&end")

    lesson = lesson_of(tape(b"12"), tape(b"34"), tape(b"x5"))
    assert lesson.is_enough and len(lesson.rules.ignore) == 1
    assert difference(tape(b"12"), tape(b"ab"), *lesson.rules.ignore).is_same


def test_what_no_rule_can_cover_is_said() -> None:
    def tape(count: int) -> Tape:
        return run(1, date, count)

    lesson = lesson_of(tape(4), tape(5))
    assert not lesson.is_enough
    assert "opened a connection that A does not have" in lesson.differences[0].verdict.divergences[0].text


def test_noise_is_given_up_soon() -> None:
    """What is encrypted, or of another program, has nothing constant."""

    def tape(seed: int) -> Tape:
        return run(seed, lambda dice, number: dice.randbytes(100_000), 8)

    lesson = lesson_of(tape(1), tape(2))
    assert not lesson.is_enough and len(lesson.rules.ignore) <= 4


def test_a_rule_that_covers_whole_streams_is_warned_of() -> None:
    def tape(seed: int) -> Tape:
        return run(seed, lambda dice, number: b"%d" % dice.randrange(10**6), 1)

    lesson = lesson_of(tape(1), tape(2))
    assert lesson.is_enough
    assert any(each.verdict.warnings for each in lesson.differences)


def post(seed: int, names: Sequence[bytes] = (b"a.test", b"b.test"), cookie: bool = False) -> Tape:
    """A resolver's questions, with identities of their own, and the answers that repeat them."""
    dice, writer = random.Random(seed), TapeWriter("app", "db")
    for name in names:
        identity, port = dice.randbytes(2), dice.randrange(40000, 60000)
        extra = b"\0\x0a\0\x08" + dice.randbytes(8) if cookie else b""
        writer.after(1).datagram(APP, DB, (port, 53), identity + b"\x01\0\0\x01" + name + extra)
        writer.after(1).datagram(DB, APP, (53, port), identity + b"\x85\x80\0\x01" + name + b" is 1.2.3.4")
    return writer.end()


@pytest.mark.parametrize("cookie", [False, True])
def test_what_an_answer_repeats_becomes_a_rule_of_echo(cookie: bool) -> None:
    lesson = lesson_of(post(1, cookie=cookie), post(2, cookie=cookie))
    assert lesson.is_enough and [str(rule) for rule in lesson.rules.echo] == ["0:2@53"]
    assert len(lesson.rules.ignore) == cookie
    again = difference(
        post(1, cookie=cookie), post(3, cookie=cookie), *lesson.rules.ignore, echo=lesson.rules.echo
    )
    assert again.is_same
