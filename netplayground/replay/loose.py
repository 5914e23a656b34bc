"""Parts that have left the tape, with something left to hear.

Such a part is not compared any more, so nobody knows when it would hear what comes next. A program asks, and
then waits for the answer: the next event goes when it has said something since the last one, and has been
quiet for the patience.
"""

from __future__ import annotations

from netplayground.replay.course import FOREVER
from netplayground.replay.part import Part
from netplayground.replay.tape import NONE


class Loose:
    """Those that have spoken, the one that has been quiet for longest first."""

    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._spoken: dict[Part, None] = {}

    def speaks(self, part: Part, now: int) -> None:
        """A diverged part said something."""
        self._spoken.pop(part, None)
        if part.give != NONE and not part.is_over:
            part.has_spoken, part.quiet_since = True, now
            self._spoken[part] = None

    def drains(self, part: Part, now: int) -> None:
        """A diverged part can be given more again."""
        if part.has_spoken and part not in self._spoken:
            self.speaks(part, now)

    def discard(self, part: Part) -> None:
        """The part is over."""
        self._spoken.pop(part, None)

    def next_due(self) -> int:
        """When the first has been quiet for long enough; FOREVER when none has spoken."""
        for part in self._spoken:
            return part.quiet_since + self._patience_ns
        return FOREVER

    def take_due(self, now: int) -> Part | None:
        """One that is to hear its next event."""
        while self.next_due() <= now:
            part = next(iter(self._spoken))
            del self._spoken[part]
            if not part.is_full:
                part.has_spoken = False
                return part
        return None
