"""Where relays write: a stream of plg's own, where each line has its speaker's name; a file for each speaker.

On a terminal that people look at a view of the run stands below what is said, from the moment that plg tells
how it goes. A line that a process has begun and not ended is a part of the view then.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import TYPE_CHECKING

from netplayground.cli.footer import Footer, can_draw
from netplayground.cli.lines import Lines, name_prefixes
from netplayground.session.status import parse_status

if TYPE_CHECKING:
    from netplayground.cli.view import View


class StreamPlace:
    """plg's stdout or stderr."""

    def __init__(self, descriptor: int, names: Sequence[str]) -> None:
        self._descriptor = descriptor
        self.descriptors = (descriptor,)
        is_terminal = os.isatty(descriptor)
        self._in_colour = can_draw(descriptor) and not os.environ.get("NO_COLOR")
        width = max(map(len, names), default=0)
        self._names = [f"{name:{width}}" for name in names]
        own = b"\x1b[0m" if self._in_colour else b""  # as what comes before a name
        self._lines = Lines([*name_prefixes(names, self._in_colour), own], is_terminal)
        self._footer: Footer | None = None
        self._view: View | None = None

    def take(self, speaker: int, data: bytes, now: float) -> None:
        self._write(self._lines.take(speaker, data, now))

    def end(self, speaker: int) -> None:
        if speaker == len(self._names) and self._footer is not None:
            # plg tells nothing any more.
            self._footer.erase()
            self._footer = None
        self._write(self._lines.end(speaker))

    def next_time(self) -> float | None:
        return None if self._footer is not None and self._footer.is_drawn else self._lines.next_time()

    def on_time(self, now: float) -> None:
        self._write(self._lines.show_waiting(now))

    def take_status(self, data: bytes) -> None:
        if self._footer is None or self._view is None:
            from netplayground.cli.view import View  # imports rich

            self._footer, self._view = Footer(self._descriptor, write_all), View(self._in_colour)
        self._view.take(parse_status(data))
        room = self._footer.room()
        if room is None:
            return
        if not self._footer.is_drawn:
            self._write(self._lines.end_line())
        begun = [(self._names[speaker], data) for speaker, data in self._lines.waiting()]
        self._footer.draw(self._view.lines(*room, begun))

    def _write(self, data: bytes) -> None:
        if self._footer is not None and self._footer.is_drawn:
            if data and not data.endswith(b"\n"):
                data += self._lines.end_line()
            self._footer.write_above(data)
        else:
            write_all(self._descriptor, data)


class FilesPlace:
    """A file for each speaker."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self.descriptors = descriptors

    def take(self, speaker: int, data: bytes, now: float) -> None:
        write_all(self.descriptors[speaker], data)

    def end(self, speaker: int) -> None:
        """It has all."""

    def next_time(self) -> float | None:
        return None

    def on_time(self, now: float) -> None:
        """Never called."""

    def take_status(self, data: bytes) -> None:
        """Nobody looks at a file."""


def write_all(descriptor: int, data: bytes) -> None:
    """All of it, also where plg was started with a descriptor that does not wait."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
