"""The events of one process in recorded order, and what stands at their front."""

from __future__ import annotations

from replay.world import CLIENT, MS, SERVER, Line, TapeWriter, World

from netplayground.replay.course import FOREVER, Course
from netplayground.replay.options import Pace, ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.stage import Answer
from netplayground.replay.tape import NONE, Outcome, Tape


def talk() -> Tape:
    writer = TapeWriter("client", "server")
    number = writer.after(1).connect(0, 1)  # 0, 1
    writer.after(1).say(number, CLIENT, b"ask")  # 2
    writer.after(1).say(number, SERVER, b"answer")  # 3
    writer.after(1).fin(number, CLIENT, SERVER)  # 4, 5
    return writer.after(1).end(1)


class Table:
    """A player that is driven by hand, with no pace; `process` lives."""

    def __init__(self, tape: Tape, process: int = 0) -> None:
        self.world = World(tape, {process: lambda actor: iter(())}, ReplayOptions(pace=Pace.MAX))
        self.player = self.world.player
        self.now = 0
        self.player.start(0)
        self.player.on_process_started(process, 0)
        self.course: Course = self.player._courses[process]

    def connect(self) -> Part:
        answer, part = self.player.on_syn(0, 1, 80, self.now)
        assert answer is Answer.ACCEPT and part is not None
        part.line = Line(0, 1, 80)
        self.player.on_connected(part, self.now)
        return part

    def front(self) -> tuple[int, bool]:
        return self.course.front(), self.course.is_awaiting


def test_the_front_is_what_is_awaited_first() -> None:
    table = Table(talk())
    assert table.front() == (0, True)
    part = table.connect()
    assert table.front() == (2, True)
    table.player.on_bytes(part, memoryview(b"as"), 0)
    assert table.front() == (2, True)
    table.player.on_bytes(part, memoryview(b"k"), 0)
    assert [what for _, _, what in table.world.given] == [b"answer"]
    assert table.front() == (4, True)
    table.player.on_fin(part, 0)
    assert [what for _, _, what in table.world.given] == [b"answer", "fin"]
    assert table.front() == (NONE, False)
    assert table.course.remaining == 0


def test_a_server_awaits_its_accept_not_its_client() -> None:
    table = Table(talk(), process=1)
    assert table.front() == (1, True)
    assert table.course.parts[0].side == SERVER


def test_what_may_as_well_not_come_is_not_awaited() -> None:
    writer = TapeWriter("client", "server")
    writer.after(1).connect(0, 1, outcome=Outcome.REFUSED)
    silent = writer.after(1).connect(0, 1)
    writer.after(1).fin(silent, CLIENT, SERVER)
    number = writer.after(1).connect(0, 1)
    writer.after(1).say(number, CLIENT, b"ask").fin(number, CLIENT, SERVER)
    table = Table(writer.end(1))
    assert table.front() == (table.player._tape.records[number].syn, True)
    assert table.course.remaining == 1


def test_the_time_that_a_process_was_idle_is_that_since_its_last_event() -> None:
    table = Table(talk())
    table.connect()
    table.course.front()
    assert table.course.idle_in_recording() == 1 * MS


def test_what_lies_behind_the_front_is_released_and_the_front_stays() -> None:
    writer = TapeWriter("client", "server")
    slow, fast = writer.connect(0, 1), writer.connect(0, 1)
    writer.after(1).say(slow, CLIENT, b"slow").after(1).say(slow, SERVER, b"late")
    writer.after(1).say(fast, SERVER, b"first").fin(slow, CLIENT, SERVER).fin(fast, CLIENT, SERVER)
    tape = writer.end(1)
    table = Table(tape)
    late, part = table.connect(), table.connect()
    table.course.give_up_before(tape.records[fast].heads[SERVER], CLIENT)
    table.player.on_timer(50 * MS)
    assert part.given == 5
    assert late.given == 0
    index = table.course.index
    table.player.on_bytes(late, memoryview(b"slow"), 50 * MS)
    assert late.given == 4
    assert table.course.index >= index


def test_a_process_that_is_gone_awaits_nothing() -> None:
    table = Table(talk())
    part = table.connect()
    table.player.on_process_gone(0, 1)
    table.player.on_reset(part, 2)
    table.player.on_timer(300 * MS)
    assert table.course.died
    assert table.front() == (NONE, False)
    assert table.course.wake == FOREVER
    verdict = table.player.finish(400 * MS)
    assert verdict.first is not None
    assert verdict.first.text == "never opened it"
