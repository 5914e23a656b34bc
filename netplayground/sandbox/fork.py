"""A fork that does one piece of work and nothing else of what its parent was about to do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from netplayground.sandbox.kernel import die_with_parent

_FAILED = 125


@contextmanager
def held_signals() -> Iterator[None]:
    """No signal interrupts the block, if this is the only thread; what comes is acted upon behind it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def fork(work: Callable[[], int]) -> int:
    """Start a process that does `work` and ends with the status that it gives; gives its number.

    It is killed when its parent ends, and Ctrl-C is for the parent to act upon. Raises OSError where no
    process can be made.
    """
    parent = os.getpid()
    with held_signals():
        pid = os.fork()
        if not pid:
            status = _FAILED
            try:
                die_with_parent(signal.SIGKILL)
                if os.getppid() == parent:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGINT, signal.SIG_IGN)
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
                    status = work()
            finally:
                # Nothing that the parent has begun (files, handlers) is the fork's to finish.
                os._exit(status)
        return pid
