"""A seat: where a part of the replay's player meets the line that carries it."""

from __future__ import annotations

import time
from collections.abc import Callable

from netplayground.replay.part import Part
from netplayground.replay.player import Player
from netplayground.traffic.line import Line


class Seat:
    """Tells the player what the line hears. `line` is there once the connection stands, which `failures`
    tries before it did not."""

    __slots__ = ("_came", "_part", "_player", "_stands", "failures", "line")

    def __init__(
        self,
        player: Player,
        part: Part,
        came: Callable[[], None],
        stands: Callable[[Part], None] | None = None,
    ) -> None:
        """`came` is called after each thing that the player was told, `stands` once, when the connection
        does."""
        self._player = player
        self._part = part
        self._came = came
        self._stands = stands
        self.failures = 0
        self.line: Line | None = None
        part.line = self

    def connected(self, line: Line) -> None:
        self.line = line
        if self._stands is not None:
            self._stands(self._part)
        self._player.on_connected(self._part, time.monotonic_ns())
        self._came()

    def failed(self) -> None:
        self.failures += 1
        self._player.on_connect_failed(self._part, time.monotonic_ns())
        self._came()

    def said(self, data: memoryview) -> None:
        self._player.on_bytes(self._part, data, time.monotonic_ns())
        self._came()

    def fin(self) -> None:
        self._player.on_fin(self._part, time.monotonic_ns())
        self._came()

    def reset(self) -> None:
        if self.line is not None:
            # The player counts what it handed over; this much has never reached the process.
            self._part.given = max(0, self._part.given - self.line.untaken)
        self._player.on_reset(self._part, time.monotonic_ns())
        self._came()

    def drained(self) -> None:
        self._player.on_drained(self._part, time.monotonic_ns())
        self._came()

    def closed(self) -> None:
        self._player.on_closed(self._part, time.monotonic_ns())
        self._came()


def line_of(part: Part) -> Line:
    """The line of a part that is connected."""
    seat = part.line
    assert isinstance(seat, Seat) and seat.line is not None
    return seat.line
