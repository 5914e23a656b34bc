"""The one event loop: descriptors by epoll, timers by a heap, work that is put off to the right moment.

One round: run the timers that are due, wait for descriptors, call their handlers, run what was asked for
`again`, close what was given to `close_later`. Invariants:

- A descriptor is closed after the batch of events in which it died, never inside it: otherwise its number
  could be taken by a new descriptor that an event of the same batch, meant for the old one, would reach.
- A handler that is removed is not called any more, not even for events already in the batch.
- `before_look` runs before each look at the descriptors, `before_sleep` before the loop sleeps: there is
  nothing to do.
"""

from __future__ import annotations

import heapq
import select
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

Handler = Callable[[int], None]

_MOST_EVENTS = 64
_LONGEST_WAIT_S = 1e6  # epoll_wait(2) takes milliseconds in an int
_LOOK_NS = 100_000
_MOST_VAIN_LOOKS = 6  # then one wait in 64 begins with a look


class Closable(Protocol):
    """Anything with a descriptor to close: a socket, a file, an epoll."""

    def close(self) -> None:
        """Close the descriptor."""


class Timer:
    """One call at one time; `cancel` takes it back."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None] | None) -> None:
        self.action = action

    def cancel(self) -> None:
        """Take the call back; harmless when it was already made."""
        self.action = None


class Loop:
    """Waits for descriptors and times, and calls who asked for them. Times: ns of CLOCK_MONOTONIC."""

    def __init__(
        self, before_look: Callable[[], None] = lambda: None, before_sleep: Callable[[], None] = lambda: None
    ) -> None:
        self._before_look = before_look
        self._before_sleep = before_sleep
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[tuple[int, int, Timer]] = []
        self._timer_number = count()
        self._again: list[Callable[[], None]] = []
        self._closing: list[Closable] = []
        self._stopped = False
        self._vain_looks = 0
        self._looks_to_skip = 0
        self.round = 0

    def add(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler(events)` whenever epoll says `mask` (or an error or hang-up) of `fd`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int, handler: Handler) -> None:
        """Give a known descriptor another mask and handler; an edge-triggered mask is armed anew."""
        self._handlers[fd] = handler
        self._epoll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Forget a descriptor that stays open."""
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def close_later(self, fd: int, owner: Closable) -> None:
        """Stop calling the handler of `fd` now, and close its `owner` after this batch of events."""
        self._handlers.pop(fd, None)
        self._closing.append(owner)

    def call_at(self, time_ns: int, action: Callable[[], None]) -> Timer:
        """Call `action` once, at `time_ns` or as soon after it as the loop gets to it."""
        timer = Timer(action)
        heapq.heappush(self._timers, (time_ns, next(self._timer_number), timer))
        return timer

    def call_after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Call `action` once, `seconds` from now."""
        return self.call_at(time.monotonic_ns() + int(min(seconds, 1e12) * 1e9), action)

    def again(self, action: Callable[[], None]) -> None:
        """Call `action` in the next round, after the descriptors that are ready then have had their turn."""
        self._again.append(action)

    def stop(self) -> None:
        """End `run` after this round; a run that has not begun yet ends at once."""
        self._stopped = True

    def run(self) -> None:
        """Go round until `stop`; whatever a handler raises comes out here."""
        poll, handlers, timers = self._epoll.poll, self._handlers, self._timers
        while not self._stopped:
            timeout = self._run_timers() if timers else None
            if self._stopped:
                break
            self._before_look()
            again, self._again = self._again, []
            if again:
                timeout = 0
            self.round += 1
            for fd, events in poll(0, _MOST_EVENTS) or self._wait(timeout):
                handler = handlers.get(fd)
                if handler is not None:
                    handler(events)
            for action in again:
                action()
            if self._closing:
                self._close_dead()
        self._stopped = False

    def close(self) -> None:
        """Close the epoll descriptor and what was still to be closed; registered descriptors stay their
        owners'."""
        self._close_dead()
        self._epoll.close()

    def _wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Look for a moment longer, then sleep: the answer to what was just passed on often comes within
        microseconds.

        To sleep and to be woken costs each side more than that on a machine that has to wake a processor for
        it (a round trip of 64 bytes: 180 µs without looking, 110 with). Looks in vain make the next ones
        rarer.
        """
        poll = self._epoll.poll
        if timeout == 0:
            return []
        if self._looks_to_skip:
            self._looks_to_skip -= 1
        else:
            until = time.monotonic_ns() + _LOOK_NS
            while time.monotonic_ns() < until:
                ready = poll(0, _MOST_EVENTS)
                if ready:
                    self._vain_looks = 0
                    return ready
            self._vain_looks = min(self._vain_looks + 1, _MOST_VAIN_LOOKS)
            self._looks_to_skip = (1 << self._vain_looks) - 1
        self._before_sleep()
        return poll(timeout, _MOST_EVENTS)

    def _run_timers(self) -> float | None:
        """Run what is due; the seconds until the next timer (None: there is none)."""
        timers = self._timers
        while timers:
            time_ns, _, timer = timers[0]
            action = timer.action
            wait_ns = time_ns - time.monotonic_ns()
            if action is not None and wait_ns > 0:
                return min(wait_ns / 1e9, _LONGEST_WAIT_S)
            heapq.heappop(timers)
            if action is not None:
                timer.action = None
                action()
        return None

    def _close_dead(self) -> None:
        closing, self._closing = self._closing, []
        for owner in closing:
            owner.close()
