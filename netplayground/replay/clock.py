"""The tape's clock: which moment of the recording is now.

It runs with the real one, `speed` times as fast, and stops while the tape waits for a live process: when what
was recorded for `limit` has not come, it stands at `limit`, but for some slack. What it stood still is the
lag. A process that answers a little later than in the recording does not stop it: the next pause absorbs
that, and nothing adds up. Every time is computed from the beginning and the lag, never from the last one.
"""

from __future__ import annotations

from math import ceil

SLACK_NS = 20_000_000  # real time; less than this behind the recording is nothing to wait for


class TapeClock:
    """Nanoseconds of real time in, nanoseconds of the tape out."""

    __slots__ = ("_slack", "_speed", "_zero", "lag", "limit")

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._slack = ceil(SLACK_NS * speed)
        self._zero = 0
        self.lag = 0
        self.limit: int | None = None

    def start(self, now: int) -> None:
        """The tape begins."""
        self._zero = now

    def advance(self, now: int) -> int:
        """What it is on the tape now. To be called before `limit` is changed."""
        time = self._time(now)
        if self.limit is not None and time > self.limit + self._slack:
            excess = time - self.limit - self._slack
            self.lag += excess if self._speed == 1 else ceil(excess / self._speed)
            time = self._time(now)
        return time

    def when(self, time: int) -> int | None:
        """When the tape will have come to `time`; None while it will not, for it has to wait before."""
        if self.limit is not None and time > self.limit + self._slack:
            return None
        return self._zero + self.lag + (time if self._speed == 1 else ceil(time / self._speed))

    def _time(self, now: int) -> int:
        since = now - self._zero - self.lag
        return since if self._speed == 1 else int(since * self._speed)
