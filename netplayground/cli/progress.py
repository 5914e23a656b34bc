"""How far a long piece of work has come: a bar on a terminal, gone at its end.

It comes when the work has taken long enough for anybody to wonder, and so does the import of rich; where
stderr is no terminal there is nothing.
"""

from __future__ import annotations

import sys
import time

from netplayground.cli.footer import Footer, can_draw
from netplayground.cli.places import write_all

_FIRST_S = 0.5
_EVERY_S = 0.1
_LEAST_TO_GUESS_S = 2.0


class Progress:
    """The bar of one piece of work."""

    def __init__(self) -> None:
        self._descriptor = terminal()
        self._footer: Footer | None = None
        self._began = time.monotonic()
        self._next = self._began + _FIRST_S

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_ended: object) -> None:
        if self._footer is not None:
            self._footer.erase()

    def show(self, done: int, size: int) -> None:
        """So many bytes are done, of so many (0: nobody knows)."""
        now = time.monotonic()
        if self._descriptor is None or now < self._next:
            return
        from netplayground.cli.view import progress_bar, rendered  # imports rich

        self._next = now + _EVERY_S
        self._footer = self._footer or Footer(self._descriptor, write_all)
        room = self._footer.room()
        if room is not None:
            bar = progress_bar(done, size, self._guess(done, size, now - self._began), room[0])
            self._footer.draw(rendered(bar, room[0])[:1])

    @staticmethod
    def _guess(done: int, size: int, took_s: float) -> float | None:
        return took_s * (size - done) / done if done and size and took_s > _LEAST_TO_GUESS_S else None


def terminal() -> int | None:
    """The descriptor of stderr, if something can be drawn there."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    descriptor = sys.stderr.fileno()
    return descriptor if can_draw(descriptor) else None
