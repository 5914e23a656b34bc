"""A player among processes that do what they did in the recording, and among others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from replay.world import CLIENT, MS, SECOND, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.tape import Outcome, Tape
from netplayground.replay.verdict import DivergenceKind
from netplayground.replay.waiting import Activity

Script = Iterator[Any]


def asks_and_hears(question: bytes, answer: bytes) -> Any:
    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        actor.say(line, question)
        yield actor.hear(line, len(answer))
        actor.fin(line)
        yield actor.hear_fin(line)

    return script


def one_question() -> Tape:
    writer = TapeWriter("client", "server")
    number = writer.after(10).connect(0, 1)
    writer.after(1).say(number, CLIENT, b"ping")
    writer.after(1).say(number, SERVER, b"pong")
    writer.after(1).fin(number, CLIENT, SERVER)
    return writer.after(1).end(1)


def test_a_client_alone_hears_what_it_heard() -> None:
    world = World(one_question(), {0: asks_and_hears(b"ping", b"pong")})
    verdict = world.run()
    assert not verdict.has_diverged
    assert (verdict.connections, verdict.connections_matched, verdict.byte_share) == (1, 1, 1.0)
    assert [what for _, _, what in world.given] == [b"pong", "fin"]
    assert world.ended is None


def echo_server(question: bytes, answer: bytes) -> Any:
    def script(actor: Actor) -> Script:
        yield actor.accept()
        line = actor.accepted.pop()
        yield actor.hear(line, len(question))
        actor.say(line, answer)
        yield actor.hear_fin(line)
        actor.fin(line)
        yield lambda: False

    return script


def test_a_server_alone_hears_what_it_heard_and_is_ended_as_in_the_recording() -> None:
    world = World(one_question(), {1: echo_server(b"ping", b"pong")})
    verdict = world.run()
    assert not verdict.has_diverged
    assert [what for _, _, what in world.given] == [b"ping", "fin"]
    assert world.signalled == [1]


def test_both_live() -> None:
    scripts = {0: asks_and_hears(b"ping", b"pong"), 1: echo_server(b"ping", b"pong")}
    verdict = World(one_question(), scripts).run()
    assert not verdict.has_diverged
    assert verdict.bytes == 16


def test_another_byte_is_found_where_it_is() -> None:
    world = World(one_question(), {0: asks_and_hears(b"pint", b"pong")})
    verdict = world.run()
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.DIFFERENT, 3)
    assert (verdict.first.expected, verdict.first.actual) == (b"ping", b"pint")


def test_a_missing_byte_is_found() -> None:
    verdict = World(one_question(), {0: asks_and_hears(b"pin", b"")}).run()
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.MISSING, 3)


def test_a_byte_too_many_is_found() -> None:
    verdict = World(one_question(), {0: asks_and_hears(b"ping!", b"pong")}).run()
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.EXTRA, 4)


def test_a_client_that_waits_for_ever_stalls_the_tape_and_is_named() -> None:
    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        actor.say(line, b"pi")
        yield lambda: False

    world = World(one_question(), {0: script})
    verdict = world.run()
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.STALLED
    assert verdict.first.describe() == (
        "client, connection 0 client -> server:80, byte 2: was to say 2 bytes more, and did not for 10 s"
    )
    assert 10 * SECOND < world.now - world.began < 11 * SECOND


def test_a_client_stopped_by_a_debugger_does_not_stall_the_tape() -> None:
    def script(actor: Actor) -> Script:
        yield actor.sleep(30_000)
        yield from asks_and_hears(b"ping", b"pong")(actor)

    def activity(process: int, since: int) -> Activity:
        return Activity.STOPPED if since < 30 * SECOND else Activity.IDLE

    assert not World(one_question(), {0: script}, activity=activity).run().has_diverged
    assert World(one_question(), {0: script}).run().has_diverged


def test_a_connection_too_many_is_refused_and_found() -> None:
    refused = []

    def script(actor: Actor) -> Script:
        yield from asks_and_hears(b"ping", b"pong")(actor)
        refused.append(actor.connect(1).is_refused)

    verdict = World(one_question(), {0: script}).run()
    assert refused == [True]
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.EXTRA_CONNECTION


def test_a_connection_that_never_comes_is_found() -> None:
    def script(actor: Actor) -> Script:
        yield actor.sleep(1)

    verdict = World(one_question(), {0: script}).run()
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.NO_CONNECTION


def test_an_abort_in_place_of_an_orderly_close_is_found_before_all_was_heard() -> None:
    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        actor.say(line, b"ping")
        yield actor.sleep(0.1)
        actor.rst(line)

    verdict = World(one_question(), {0: script}).run()
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.CLOSED


def parallel(files: int) -> Tape:
    writer = TapeWriter("clients", "server")
    numbers = [writer.connect(0, 1) for _ in range(files)]
    for number in numbers:
        writer.after(0.1).say(number, CLIENT, b"GET /%d\n" % number)
    for number in reversed(numbers):
        writer.after(0.1).say(number, SERVER, b"file %d" % number).fin(number, SERVER)
        writer.fin(number, CLIENT)
    return writer.end(1)


def downloads(order: list[int], got: dict[int, bytes]) -> Any:
    def script(actor: Actor) -> Script:
        lines = [(file, actor.connect(1)) for file in order]
        for file, line in lines:
            actor.say(line, b"GET /%d\n" % file)
        for file, line in lines:
            yield actor.hear_fin(line)
            got[file] = bytes(line.heard)
            actor.fin(line)

    return script


def test_parallel_downloads_in_another_order_all_get_their_own_file() -> None:
    got: dict[int, bytes] = {}
    order = [7, 3, 0, 9, 1, 5, 2, 8, 4, 6]
    verdict = World(parallel(10), {0: downloads(order, got)}).run()
    assert not verdict.has_diverged
    assert got == {file: b"file %d" % file for file in order}
    assert verdict.rematched == 0


def test_parallel_clients_that_begin_alike_get_their_own_file() -> None:
    writer = TapeWriter("clients", "server")
    numbers = [writer.connect(0, 1) for _ in range(8)]
    for number in numbers:
        writer.after(0.1).say(number, CLIENT, b"HELLO\n").say(number, SERVER, b"key %d\n" % number)
    for number in numbers:
        writer.say(number, CLIENT, b"GET /%d\n" % number)
        writer.after(0.1).say(number, SERVER, b"file %d" % number).fin(number, SERVER, CLIENT)
    got: dict[int, bytes] = {}

    def one(actor: Actor, file: int) -> Script:
        line = actor.connect(1)
        actor.say(line, b"HELLO\n")
        yield actor.hear(line, 6)
        actor.say(line, b"GET /%d\n" % file)
        yield actor.hear_fin(line)
        got[file] = bytes(line.heard[6:])
        actor.fin(line)

    def script(actor: Actor) -> Script:
        for file in (5, 2, 7, 0, 1, 6, 3, 4):
            actor.go(one(actor, file))
        yield lambda: True

    tape = writer.end(1)
    verdict = World(tape, {0: script}, ReplayOptions(ignore=(rb"key \d\n",))).run()
    assert not verdict.has_diverged
    assert got == {file: b"file %d" % file for file in range(8)}
    assert verdict.rematched > 0


def test_refusals_before_the_server_is_up_are_played_and_may_be_too_few() -> None:
    writer = TapeWriter("client", "server")
    for _ in range(3):
        writer.after(10).connect(0, 1, outcome=Outcome.REFUSED)
    number = writer.after(10).connect(0, 1)
    writer.say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong").fin(number, CLIENT, SERVER)
    tape = writer.end(1)
    refused = []

    def script(actor: Actor) -> Script:
        while (line := actor.connect(1)).is_refused:
            refused.append(True)
            yield actor.sleep(1)
        actor.say(line, b"ping")
        yield actor.hear(line, 4)
        actor.fin(line)
        yield actor.hear_fin(line)

    assert not World(tape, {0: script}).run().has_diverged
    assert len(refused) == 3
    # Toward a live server refusals are not played: it never heard of them.
    assert not World(tape, {1: echo_server(b"ping", b"pong")}).run().has_diverged


def test_a_live_server_may_be_late() -> None:
    def script(actor: Actor) -> Script:
        actor.ports = set()
        yield actor.sleep(500)
        actor.ports = {80}
        yield from echo_server(b"ping", b"pong")(actor)

    assert not World(one_question(), {1: script}).run().has_diverged


def test_with_warn_the_rest_of_the_replay_goes_on_and_stop_ends_it() -> None:
    writer = TapeWriter("client", "server")
    for _ in range(2):
        number = writer.after(10).connect(0, 1)
        writer.say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
        writer.fin(number, CLIENT, SERVER)
    tape = writer.end(1)
    heard = []

    def script(actor: Actor) -> Script:
        for question in (b"pint", b"ping"):
            line = actor.connect(1)
            actor.say(line, question)
            yield actor.hear(line, 4)
            heard.append(bytes(line.heard))
            actor.fin(line)
            yield actor.hear_fin(line)

    verdict = World(tape, {0: script}, ReplayOptions(on_divergence=OnDivergence.WARN)).run()
    assert verdict.divergence_count == 1
    assert heard == [b"pong", b"pong"]
    assert verdict.connections_matched == 1
    world = World(tape, {0: script}, ReplayOptions(on_divergence=OnDivergence.STOP))
    assert world.run().has_diverged
    assert world.ended == "diverged"


def chunks_over(seconds: float, many: int) -> Tape:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    for index in range(many):
        writer.time = 1000 * seconds * (index + 1) / many
        writer.say(number, SERVER, b"x")
    writer.fin(number, SERVER, CLIENT)
    return writer.end(1)


def test_over_ten_minutes_the_last_chunk_comes_in_time() -> None:
    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        yield actor.hear_fin(line)
        actor.fin(line)

    world = World(chunks_over(600, 6001), {0: script})
    assert not world.run().has_diverged
    last = [at for at, _, what in world.given if what == b"x"][-1]
    assert abs(last - 600 * SECOND) < 50 * MS


def test_many_small_delays_of_a_process_do_not_add_up() -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    for _ in range(6000):
        writer.after(50).say(number, CLIENT, b"a").after(50).say(number, SERVER, b"b")
    writer.fin(number, CLIENT, SERVER)

    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        for index in range(6000):
            yield actor.sleep(53)
            actor.say(line, b"a")
            yield actor.hear(line, index + 1)
        actor.fin(line)
        yield actor.hear_fin(line)

    world = World(writer.end(1), {0: script})
    assert not world.run().has_diverged
    last = [at for at, _, what in world.given if what == b"b"][-1]
    assert abs(last - 600 * SECOND) < 50 * MS


def test_speed_divides_the_time_and_max_does_not_wait() -> None:
    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        yield actor.hear_fin(line)
        actor.fin(line)

    for options, seconds in (
        (ReplayOptions(speed=4.0), 15.0),
        (ReplayOptions(pace=Pace.MAX), 0.0),
        (ReplayOptions(pace=Pace.FLOOD), 0.0),
    ):
        world = World(chunks_over(60, 60), {0: script}, options)
        assert not world.run().has_diverged
        last = [at for at, _, what in world.given if what == b"x"][-1]
        assert abs(last - seconds * SECOND) < 30 * MS, options


def test_how_much_was_said_before_the_peers_abort_is_a_matter_of_buffers() -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    writer.after(1).say(number, CLIENT, b"all").after(1).say(number, SERVER, b"0123456789")
    writer.after(1).rst(number, CLIENT)

    def says(data: bytes) -> Any:
        def script(actor: Actor) -> Script:
            yield actor.accept()
            line = actor.accepted.pop()
            yield actor.hear(line, 3)
            actor.say(line, data)
            yield actor.hear_fin(line)
            yield lambda: False

        return script

    tape = writer.end(1)
    assert not World(tape, {1: says(b"0123456789")}).run().has_diverged
    more = World(tape, {1: says(b"0123456789abc")}).run()
    assert not more.has_diverged
    assert more.notes == {"connections on which more was said before the peer's abort": 1}
    assert more.byte_share == 1
    assert World(tape, {1: says(b"012345678!abc")}).run().has_diverged


def test_a_server_whose_start_nobody_knows_has_a_moment_to_come_up() -> None:
    tape = one_question()
    for life in tape.lives:
        life.started_ns = life.ended_ns = None
    tape.mark_ns = None

    def server(actor: Actor) -> Script:
        actor.ports = set()
        yield actor.sleep(900)
        actor.ports = {80}
        yield from echo_server(b"ping", b"pong")(actor)

    for options in (ReplayOptions(), ReplayOptions(pace=Pace.MAX)):
        world = World(tape, {1: server}, options)
        assert not world.run().has_diverged
        assert world.given[0][0] >= SECOND
    # A client alone need not wait.
    world = World(tape, {0: asks_and_hears(b"ping", b"pong")})
    assert not world.run().has_diverged
    assert world.given[0][0] < 20 * MS
