"""A part: a live process's end of one connection, playing one side of a record.

What the process says is compared with what its side said in the recording; what it hears is what the other
side said there, event by event. Whether its peer lives too is no matter: each live process is played to by
itself.

    connecting ── connected ──┬── settled (all was said, given and closed as recorded)
                              ├── diverged (no longer compared; it still hears what is left)
                              └── either, then over (nothing more can be given or said)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from netplayground.replay.compare import Comparison
from netplayground.replay.tape import CHUNK, FIN, NONE, Record, Tape, other

if TYPE_CHECKING:
    from netplayground.replay.course import Course


class Part:
    """One part; `line` is for whoever has the sockets."""

    __slots__ = (
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
        "line",
        "quiet_since",
        "record",
        "rst_given",
        "rst_seen",
        "side",
    )

    def __init__(self, tape: Tape, course: Course, side: int, record: Record, comparison: Comparison) -> None:
        self._tape = tape
        self.course = course
        self.side = side
        self.record = record
        self.comparison = comparison
        self.give = record.heads[other(side)]  # the next event for it to hear
        self.into = 0  # how many bytes of that it has heard already, on another record
        self.given = 0  # bytes
        self.fin_given = self.rst_given = self.fin_seen = self.rst_seen = False
        self.is_connected = self.is_full = self.is_settled = self.is_over = self.has_diverged = False
        self.has_spoken = False  # once diverged: since it heard something last
        self.quiet_since = 0
        self.line: object = None

    @property
    def is_waived(self) -> bool:
        """Whether nothing more is awaited of it."""
        return self.has_diverged or self.is_over

    @property
    def said_all(self) -> bool:
        """Whether the process has said all that its side said in the recording."""
        return self.comparison.position >= self.record.bytes[self.side]

    @property
    def heard_all(self) -> bool:
        """Whether every recorded byte for it was given."""
        return self.given >= self.record.bytes[other(self.side)]

    def may_hear(self) -> bool:
        """Whether it has said all that was said before the next event for it to hear."""
        event = self.give
        return event != NONE and self.is_connected and self.comparison.position >= self._tape.against[event]

    def has_heard(self, event: int) -> bool:
        """Whether an event of the other side was given."""
        what = self._tape.code[event] & ~1
        if what == CHUNK:
            return self.given >= self._tape.upto[event]
        return self.fin_given if what == FIN else self.rst_given

    def has_done(self, event: int) -> bool:
        """Whether an event of its own side has come."""
        if self._tape.code[event] & ~1 == CHUNK:
            return self.comparison.position >= self._tape.upto[event]
        return self.fin_seen or self.rst_seen

    def next_said(self) -> int:
        """The next event in which it is to say bytes; NONE when there is none."""
        tape, event, position = self._tape, self.record.heads[self.side], self.comparison.position
        while event != NONE and (tape.code[event] & ~1 != CHUNK or tape.upto[event] <= position):
            event = tape.succ[event]
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
        record, side = self.record, self.side
        if record.rsts[side] != NONE:
            return self.rst_seen
        if record.fins[side] != NONE:
            return self.fin_seen or self.rst_seen or self.rst_given
        return True
