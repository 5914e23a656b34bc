"""What a replay comes to: divergences in recorded order, each side of a connection for itself."""

from __future__ import annotations

from replay.world import CLIENT, SERVER, TapeWriter, World

from netplayground.replay.assignment import Assignment
from netplayground.replay.compare import Mismatch
from netplayground.replay.options import ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.referee import MOST_KEPT, Referee
from netplayground.replay.tape import NONE, Tape
from netplayground.replay.verdict import DivergenceKind


def talk(connections: int = 2) -> Tape:
    writer = TapeWriter("client", "server")
    for _ in range(connections):
        number = writer.after(1).connect(0, 1)
        writer.after(1).say(number, CLIENT, b"0123456789" * 10).after(1).say(number, SERVER, b"answer")
        writer.fin(number, CLIENT, SERVER)
    return writer.end(1)


class Table:
    """A referee, and a part for each record."""

    def __init__(self, tape: Tape, *live: bool) -> None:
        world = World(tape, {n: lambda actor: iter(()) for n, is_live in enumerate(live) if is_live})
        self.course = world.player._courses[0]
        self.assignment = Assignment(tape, (), ReplayOptions().ephemeral)
        self.referee = Referee(tape, live, self.assignment.optional)
        self.parts: list[Part] = [self.assignment.cast(self.course, CLIENT, each) for each in tape.records]


def test_divergences_come_in_recorded_order_and_show_what_stands_around() -> None:
    table = Table(talk(), True, False)
    table.referee.lacks(table.parts[1], "closed it")
    table.referee.differs(table.parts[0], Mismatch(57, b"_890"))
    verdict = table.referee.verdict(is_over=False)
    first, second = verdict.divergences
    assert (first.record, first.offset, first.window) == (0, 57, 41)
    assert first.expected == (b"0123456789" * 10)[41:89]
    assert first.actual == b"1234567890123456_890"
    assert (second.record, second.kind) == (1, DivergenceKind.MISSING)
    assert second.text == "closed it after 0 of 100 bytes"
    assert (verdict.connections, verdict.connections_matched) == (2, 0)


def test_a_connection_of_two_live_ends_matches_when_both_do() -> None:
    table = Table(talk(1), True, True)
    table.referee.settles(table.parts[0])
    assert table.referee.verdict(is_over=True).connections_matched == 0
    table.referee._settled[0] |= 1 << SERVER
    assert table.referee.verdict(is_over=True).connections_matched == 1
    table.referee.unsettles(table.parts[0].record, SERVER)
    assert table.referee.verdict(is_over=True).connections_matched == 0


def test_only_so_many_divergences_are_kept_and_all_are_counted() -> None:
    table = Table(talk(1), True, False)
    for _ in range(MOST_KEPT + 5):
        table.referee.comes_unknown(table.course, 1, 81, NONE)
    table.referee.differs(table.parts[0], Mismatch(0, b"x"))
    verdict = table.referee.verdict(is_over=False)
    assert verdict.divergence_count == MOST_KEPT + 6
    assert len(verdict.divergences) == MOST_KEPT
    assert verdict.first is not None
    assert verdict.first.kind is DivergenceKind.DIFFERENT
    assert verdict.divergences[-1].text == "opened a connection that the recording does not have"
    assert verdict.divergences[-1].connection == "client -> server:81"
