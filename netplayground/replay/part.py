"""A part: a live process's end of one connection, playing one side of a record.

What the process says is compared with what its side said in the recording; what it hears is what the other
side said there, event by event. Whether its peer lives too is no matter: each live process is played to by
itself.

    connecting ── connected ──┬── settled (all was said, given and closed as recorded)
                              ├── diverged (no longer compared; it still hears what is left)
                              ├── spare (nothing was said or heard; its record is for another connection)
                              └── any of these, then over (nothing more can be given or said)

Which call closes a connection says little once everything was said and heard: a process that has read its
last byte closes with a FIN, one that has not yet with a RST. So there either stands for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netplayground.replay.compare import Comparison
from netplayground.replay.tape import CHUNK, FIN, NONE, Record, Tape, other

if TYPE_CHECKING:
    from netplayground.replay.course import Course

OPENING = 32
"""So many of the first bytes that a part said tell most records apart without reading them."""


class Part:
    """One part; `line` is for whoever has the sockets."""

    __slots__ = (
        "_said",
        "_tape",
        "comparison",
        "course",
        "fin_given",
        "fin_seen",
        "give",
        "given",
        "has_diverged",
        "has_spoken",
        "into",
        "is_connected",
        "is_full",
        "is_over",
        "is_settled",
        "is_spare",
        "line",
        "opening",
        "quiet_since",
        "record",
        "rst_given",
        "rst_seen",
        "said_too_much",
        "side",
    )

    def __init__(self, tape: Tape, course: Course, side: int, record: Record, comparison: Comparison) -> None:
        self._tape = tape
        self.course = course
        self.side = side
        self.record = record
        self.comparison = comparison
        self._said = record.heads[side]  # no event before it is still to be said
        self.give = record.heads[other(side)]  # the next event for it to hear
        self.into = 0  # how many bytes of that it has heard already, on another record
        self.given = 0  # bytes
        self.fin_given = self.rst_given = self.fin_seen = self.rst_seen = False
        self.said_too_much = False  # before its peer's abort
        self.is_connected = self.is_full = self.is_settled = self.is_over = self.has_diverged = False
        self.is_spare = False
        self.opening = b""  # the first bytes that it said
        self.has_spoken = False  # once diverged: since it heard something last
        self.quiet_since = 0
        self.line: object = None

    @property
    def is_waived(self) -> bool:
        """Whether nothing more is awaited of it."""
        return self.has_diverged or self.is_over or self.is_spare

    @property
    def is_fixed(self) -> bool:
        """Whether it can play no other record any more."""
        return self.has_diverged or self.is_over or self.is_spare or self.fin_given or self.rst_given

    @property
    def said_all(self) -> bool:
        """Whether the process has said all that its side said in the recording."""
        return self.comparison.position >= self.record.bytes[self.side]

    @property
    def heard_all(self) -> bool:
        """Whether every recorded byte for it was given."""
        return self.given >= self.record.bytes[other(self.side)]

    @property
    def is_unused(self) -> bool:
        """Whether no byte has gone either way, and one may still go."""
        return not (self.opening or self.given or self.fin_seen or self.is_waived)

    def may_hear(self) -> bool:
        """Whether it has said all that was said before the next event for it to hear."""
        event = self.give
        if event == NONE or not self.is_connected or self.comparison.position < self._tape.against[event]:
            return False
        return self.fin_seen or self.record.fins[self.side] > event

    def has_done(self, event: int) -> bool:
        """Whether an event of its own side has come."""
        if self._tape.code[event] & ~1 == CHUNK:
            return self.comparison.position >= self._tape.upto[event]
        # After a FIN all that can be left is the RST for what was never read.
        return self.fin_seen or self.rst_seen

    def has_to_close(self) -> bool:
        """Whether its side closed or aborted in the recording."""
        return self.record.fins[self.side] != NONE or self.record.rsts[self.side] != NONE

    def open_with(self, data: memoryview) -> None:
        """Keep the first bytes that it says."""
        if len(self.opening) < OPENING:
            self.opening = (self.opening + bytes(data[:OPENING]))[:OPENING]

    def next_said(self) -> int:
        """The next event in which it is to say bytes; NONE when there is none."""
        tape, event, position = self._tape, self._said, self.comparison.position
        while event != NONE and (tape.code[event] & ~1 != CHUNK or tape.upto[event] <= position):
            event = tape.succ[event]
        self._said = event
        return event

    def step(self) -> None:
        """The next event for it to hear was given."""
        tape, event = self._tape, self.give
        what = tape.code[event] & ~1
        if what == CHUNK:
            self.given = tape.upto[event]
        elif what == FIN:
            self.fin_given = True
        else:
            self.rst_given = self.is_over = True
        self.give, self.into = tape.succ[event], 0

    def move_to(self, record: Record, comparison: Comparison, given: int) -> None:
        """Play another record, on which it has heard `given` bytes."""
        tape = self._tape
        self.record, self.comparison, self.given = record, comparison, given
        self._said = record.heads[self.side]
        event = record.heads[other(self.side)]
        while event != NONE and tape.code[event] & ~1 == CHUNK and tape.upto[event] <= given:
            event = tape.succ[event]
        self.give = event
        is_chunk = event != NONE and tape.code[event] & ~1 == CHUNK
        self.into = tape.length[event] - (tape.upto[event] - given) if is_chunk else 0

    def has_closed_as_recorded(self) -> bool:
        """Whether all was said, heard and closed as on the tape, as far as the tape goes."""
        if not (self.said_all and self.give == NONE):
            return False
        return not self.has_to_close() or self.fin_seen or self.rst_seen or self.rst_given
