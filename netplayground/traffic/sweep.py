"""The sweep: attempts that nobody asks for any more are given up, however they went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from netplayground.traffic.loop import Loop

_ATTEMPT_S = 150.0  # tcp_syn_retries and tcp_synack_retries are over after 127 and 63 s (ip-sysctl.rst)
_SWEEP_S = 10.0


class Begun(Protocol):
    """An attempt, since `began` (CLOCK_MONOTONIC, s)."""

    began: float


Key = tuple[bytes, bytes, int, int]
Attempt = TypeVar("Attempt", bound=Begun)


class Sweep(Generic[Attempt]):
    """Goes through the attempts now and then, while there are any; the oldest stand first."""

    def __init__(
        self, loop: Loop, attempts: Mapping[Key, Attempt], give_up: Callable[[Attempt], None]
    ) -> None:
        self._loop = loop
        self._attempts = attempts
        self._give_up = give_up
        self._is_due = False

    def later(self) -> None:
        """There are attempts, perhaps: go through them in a while."""
        if not self._is_due and self._attempts:
            self._is_due = True
            self._loop.call_after(_SWEEP_S, self._go_through)

    def _go_through(self) -> None:
        self._is_due = False
        for attempt in list(self._attempts.values()):
            if time.monotonic() - attempt.began < _ATTEMPT_S:
                break  # the others began later still
            self._give_up(attempt)
        self.later()
