"""Who hears what when other processes, or the same one, come in another order than in the recording."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from replay.faithful import faithful
from replay.world import CLIENT, MS, SECOND, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import Pace, ReplayOptions
from netplayground.replay.tape import Outcome, Tape
from netplayground.replay.verdict import DivergenceKind

Script = Iterator[Any]
PACES = (ReplayOptions(), ReplayOptions(pace=Pace.MAX), ReplayOptions(speed=10.0))


def parallel(many: int, greeting: bytes = b"", hello: bytes = b"") -> Tape:
    writer = TapeWriter("clients", "server")
    numbers = [writer.after(0.05).connect(0, 1) for _ in range(many)]
    for number in numbers:
        if greeting:
            writer.after(0.05).say(number, SERVER, greeting)
        if hello:
            writer.after(0.05).say(number, CLIENT, hello).after(0.05).say(number, SERVER, b"ready\n")
    for number in numbers:
        writer.after(0.1).say(number, CLIENT, b"GET /%d\n" % number)
        writer.after(0.1).say(number, SERVER, b"file %d" % number).fin(number, SERVER, CLIENT)
    return writer.after(1).end(1)


def one_download(actor: Actor, file: int, got: dict[int, bytes], before: int, hello: bytes) -> Script:
    line = actor.connect(1)
    yield actor.hear(line, before)
    if hello:
        actor.say(line, hello)
        yield actor.hear(line, before + 6)
    actor.say(line, b"GET /%d\n" % file)
    yield actor.hear_fin(line)
    got[file] = bytes(line.heard).rpartition(b"\n")[2]
    actor.fin(line)


@pytest.mark.parametrize("options", PACES)
@pytest.mark.parametrize(("greeting", "hello"), [(b"", b""), (b"220 hello\n", b""), (b"", b"A" * 68)])
def test_parallel_connections_in_any_order_get_their_own(
    options: ReplayOptions, greeting: bytes, hello: bytes
) -> None:
    many = 256
    order = list(range(many))
    random.Random(many).shuffle(order)
    got: dict[int, bytes] = {}

    def script(actor: Actor) -> Script:
        for file in order:
            actor.go(one_download(actor, file, got, len(greeting), hello))
            yield actor.sleep(0.01)

    world = World(parallel(many, greeting, hello), {0: script}, options)
    verdict = world.run(most_s=60)
    assert not verdict.has_diverged, verdict.first
    assert got == {file: b"file %d" % file for file in order}
    assert (verdict.connection_share, verdict.byte_share, verdict.reordered) == (1.0, 1.0, 0)
    assert world.looks < 20 * many


def pool(jobs: int, workers: int, seed: int) -> Tape:
    """Workers with a connection each, that take what is next in one queue; answers take their time."""
    writer, dice = TapeWriter("pool", "server"), random.Random(seed)
    lines = [writer.after(0.1).connect(0, 1) for _ in range(workers)]
    busy: deque[tuple[float, int, int]] = deque()
    free, queue = list(lines), deque(range(jobs))
    while queue or busy:
        while free and queue:
            number, job = free.pop(0), queue.popleft()
            writer.after(0.05).say(number, CLIENT, b"job %d\n" % job)
            busy.append((writer.time + dice.uniform(0.3, 3), number, job))
        ready = min(busy)
        busy.remove(ready)
        writer.time = max(writer.time, ready[0])
        writer.say(ready[1], SERVER, b"done %d\n" % ready[2])
        free.append(ready[1])
    for number in lines:
        writer.after(0.1).fin(number, CLIENT, SERVER)
    return writer.after(1).end(1)


@pytest.mark.parametrize("options", PACES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_pool_of_workers_on_one_queue_stays_on_the_tape(options: ReplayOptions, seed: int) -> None:
    jobs, workers, dice = 240, 8, random.Random(seed + 100)
    queue = deque(range(jobs))
    got: dict[int, bytes] = {}

    def work(actor: Actor) -> Script:
        line, heard = actor.connect(1), 0
        while queue:
            job = queue.popleft()
            yield actor.sleep(dice.uniform(0.02, 0.4))
            actor.say(line, b"job %d\n" % job)
            answer = b"done %d\n" % job
            yield actor.hear(line, heard + len(answer))
            got[job] = bytes(line.heard[heard:])
            heard = len(line.heard)
        actor.fin(line)

    def script(actor: Actor) -> Script:
        for _ in range(workers):
            actor.go(work(actor))
        yield lambda: True

    verdict = World(pool(jobs, workers, seed), {0: script}, options).run(most_s=120)
    assert not verdict.has_diverged, verdict.first
    assert got == {job: b"done %d\n" % job for job in range(jobs)}
    assert verdict.connection_share == 1.0


def test_the_same_short_connection_again_and_again() -> None:
    writer = TapeWriter("client", "server")
    for _ in range(300):
        number = writer.after(0.2).connect(0, 1)
        writer.after(0.2).say(number, CLIENT, b"GET /").after(0.2).say(number, SERVER, b"page")
        writer.fin(number, SERVER, CLIENT)
    tape = writer.end(1)
    for live in ((0,), (1,), (0, 1)):
        world = World(tape, {each: faithful(tape, each) for each in live})
        verdict = world.run(most_s=5)
        assert not verdict.has_diverged
        assert (verdict.connection_share, verdict.rematched, verdict.reordered) == (1.0, 0, 0)


@pytest.mark.parametrize("is_passive", [True, False])
def test_the_data_connections_of_ftp_may_have_other_ports(is_passive: bool) -> None:
    writer = TapeWriter("client", "server")
    control = writer.after(1).connect(0, 1, 21)
    writer.say(control, SERVER, b"220\n")
    for file, port in enumerate((40001, 40002)):
        writer.after(1).say(control, CLIENT, b"RETR %d\n" % file)
        data = writer.after(1).connect(*((0, 1) if is_passive else (1, 0)), port)
        sender = SERVER if is_passive else CLIENT
        writer.after(1).say(data, sender, b"file %d" % file).fin(data, sender, 1 - sender)
        writer.after(1).say(control, SERVER, b"226\n")
    writer.after(1).fin(control, CLIENT, SERVER)
    got = []

    def script(actor: Actor) -> Script:
        line = actor.connect(1, 21)
        yield actor.hear(line, 4)
        for file, port in enumerate((50002, 50001)):
            actor.say(line, b"RETR %d\n" % file)
            if is_passive:
                data = actor.connect(1, port)
            else:
                yield actor.accept()
                data = actor.accepted.pop()
            yield actor.hear_fin(data)
            got.append(bytes(data.heard))
            actor.fin(data)
            yield actor.hear(line, 8 + 4 * file)
        actor.fin(line)
        yield actor.hear_fin(line)

    verdict = World(writer.end(1), {0: script}).run(most_s=5)
    assert not verdict.has_diverged, verdict.first
    assert got == [b"file 0", b"file 1"]


def test_a_client_that_finds_its_server_refusing_may_try_more_often_where_it_never_came_up() -> None:
    writer = TapeWriter("client", "server")
    for _ in range(3):
        writer.after(10).connect(0, 1, outcome=Outcome.REFUSED)
    refused = []

    def script(actor: Actor) -> Script:
        for _ in range(9):
            refused.append(actor.connect(1).is_refused)
            yield actor.sleep(5)

    verdict = World(writer.end(1), {0: script}).run()
    assert refused == [True] * 9
    assert not verdict.has_diverged
    assert sum(verdict.notes.values()) == 6


def idle_first(writer: TapeWriter) -> Tape:
    number = writer.after(1).connect(0, 1)
    writer.after(1).say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
    writer.fin(number, CLIENT, SERVER)
    return writer.end(1)


@pytest.mark.parametrize("is_used", [False, True])
def test_a_connection_that_is_opened_and_not_used_keeps_nothing_from_others(is_used: bool) -> None:
    def script(actor: Actor) -> Script:
        idle, line = actor.connect(1), actor.connect(1)
        actor.say(line, b"ping")
        yield actor.hear(line, 4)
        if is_used:
            actor.say(idle, b"ping")
        actor.fin(line)
        yield actor.hear_fin(line)
        actor.fin(idle)

    verdict = World(idle_first(TapeWriter("client", "server")), {0: script}).run()
    assert verdict.connection_share == 1.0
    if is_used:
        assert verdict.first is not None
        assert verdict.first.kind is DivergenceKind.EXTRA_CONNECTION
    else:
        assert not verdict.has_diverged
        assert dict(verdict.notes) == {"connections without a byte": 1}


def blocked() -> Tape:
    """The slow connection's question comes before the fast one's answer."""
    writer = TapeWriter("client", "server")
    slow, fast = writer.connect(0, 1), writer.connect(0, 1)
    writer.after(1).say(fast, CLIENT, b"fast").after(1).say(slow, CLIENT, b"slow")
    writer.after(1).say(fast, SERVER, b"first").after(1).say(slow, SERVER, b"second")
    writer.after(1).fin(fast, CLIENT, SERVER).fin(slow, CLIENT, SERVER)
    return writer.end(1)


def asks_slowly(actor: Actor) -> Script:
    """It asks on the slow connection only when it has its answer on the fast one."""
    slow, fast = actor.connect(1), actor.connect(1)
    actor.say(fast, b"fast")
    yield actor.hear(fast, 5)
    actor.say(slow, b"slow")
    yield actor.hear(slow, 6)
    for line in (fast, slow):
        actor.fin(line)
        yield actor.hear_fin(line)


def test_a_connection_that_blocks_another_is_passed_when_patience_is_over() -> None:
    world = World(blocked(), {0: asks_slowly})
    verdict = world.run()
    assert not verdict.has_diverged
    assert verdict.reordered == 1
    at = [when for when, _, what in world.given if what == b"first"]
    assert 200 * MS <= at[0] < 300 * MS
    verdict = World(blocked(), {0: asks_slowly}, ReplayOptions(strict_order=True)).run()
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.REORDERED


def test_what_is_late_on_one_connection_goes_at_its_time_on_it() -> None:
    """A send that was given up frees what comes after it on its own connection, but not before its time."""
    writer = TapeWriter("client", "server")
    slow, fast = writer.connect(0, 1), writer.connect(0, 1)
    writer.after(1).say(slow, CLIENT, b"slow").after(1).say(fast, SERVER, b"first")
    writer.after(5000).say(slow, SERVER, b"second").after(1).fin(slow, SERVER, CLIENT)
    writer.fin(fast, SERVER, CLIENT)

    def script(actor: Actor) -> Script:
        late, line = actor.connect(1), actor.connect(1)
        yield actor.hear(line, 5)
        actor.say(late, b"slow")
        for each in (late, line):
            yield actor.hear_fin(each)
            actor.fin(each)

    world = World(writer.end(1), {0: script})
    assert not world.run().has_diverged
    at = {what: when for when, _, what in world.given}
    assert at[b"second"] - at[b"first"] > 4900 * MS


def test_a_long_stop_moves_what_comes_after_it_and_nothing_adds_up() -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    for _ in range(20):
        writer.after(100).say(number, CLIENT, b"a").after(100).say(number, SERVER, b"b")
    writer.fin(number, CLIENT, SERVER)

    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        for index in range(20):
            yield actor.sleep(5100 if index == 9 else 100)
            actor.say(line, b"a")
            yield actor.hear(line, index + 1)
        actor.fin(line)
        yield actor.hear_fin(line)

    world = World(writer.end(1), {0: script})
    assert not world.run().has_diverged
    times = [when for when, _, what in world.given if what == b"b"]
    assert abs(times[8] - 1800 * MS) < 30 * MS
    assert abs(times[-1] - (4000 + 5000) * MS) < 60 * MS
    assert world.looks < 400


def test_a_server_that_comes_up_late_is_tried_every_ten_milliseconds() -> None:
    tape = idle_first(TapeWriter("client", "server"))

    def script(actor: Actor) -> Script:
        actor.ports = set()
        yield actor.sleep(8000)
        actor.ports = {80}
        yield from faithful(tape, 1)(actor)

    world = World(tape, {1: script})
    verdict = world.run()
    assert not verdict.has_diverged
    assert world.now - world.began < 8100 * MS
    assert world.looks < 1200


def test_a_server_that_never_comes_up_is_named_when_the_stall_time_is_over() -> None:
    def script(actor: Actor) -> Script:
        actor.ports = set()
        yield lambda: False

    world = World(idle_first(TapeWriter("client", "server")), {1: script})
    verdict = world.run()
    assert world.ended == "stalled"
    assert verdict.first is not None
    assert "was to accept" in verdict.first.text
    assert world.now - world.began < 12 * SECOND


def test_a_server_is_asked_in_the_recorded_order_though_it_answers_in_another() -> None:
    """As redis does: it counts the requests of one round one by one, and writes the answers in reverse."""
    writer, rounds = TapeWriter("client", "server"), 40
    one, two = writer.connect(0, 1), writer.connect(0, 1)
    for turn in range(rounds):
        writer.after(0.3).say(one, CLIENT, b"up").after(0.02).say(two, CLIENT, b"up")
        writer.after(0.3).say(two, SERVER, b"%4d" % (2 * turn + 1)).after(0.02).say(
            one, SERVER, b"%4d" % (2 * turn)
        )
    writer.after(1).fin(one, CLIENT, SERVER).fin(two, CLIENT, SERVER)
    count = iter(range(2 * rounds))

    def serve(actor: Actor, line: Any) -> Script:
        for turn in range(rounds):
            yield actor.hear(line, 2 * turn + 2)
            actor.say(line, b"%4d" % next(count))
        yield actor.hear_fin(line)
        actor.fin(line)

    def script(actor: Actor) -> Script:
        for _ in range(2):
            yield actor.accept()
            actor.go(serve(actor, actor.accepted.pop(0)))

    verdict = World(writer.after(1).end(1), {1: script}).run()
    assert not verdict.has_diverged, verdict.first
    assert (verdict.connection_share, verdict.byte_share, verdict.reordered) == (1.0, 1.0, 0)
