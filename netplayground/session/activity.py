"""What the threads of a live process do, as the kernel tells in /proc (proc_pid_stat(5)).

A look reads a small file for each thread below the process's PID 1: for those only that a replay waits for.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from netplayground.replay.waiting import Activity

_RUNNING = frozenset(b"RD")  # running, or in uninterruptible sleep
_STOPPED = frozenset(b"tT")  # by a debugger, or a signal
_DEEPEST = 64


def look_at(pid1: int, leader: int | None = None, acting: Iterable[int] = ()) -> Activity:
    """What the processes below a PID 1 (numbered as plg sees it) do; BUSY where one thread runs at least.

    `leader`: one whose own threads count too, and of whose children these `acting` with all below them."""
    pids = [*_below(pid1, _DEEPEST), *([] if leader is None else [leader])]
    for pid in acting:
        pids += [pid, *_below(pid, _DEEPEST)]
    states = {state for pid in pids for state in _states(pid)}
    if states & _STOPPED:
        return Activity.STOPPED
    return Activity.BUSY if states & _RUNNING else Activity.IDLE


def _below(pid: int, depth: int) -> Iterator[int]:
    """All descendants that there are at this moment; they come and go while one looks."""
    for child in b" ".join(_read_of_threads(pid, "children")).split():
        yield int(child)
        if depth:
            yield from _below(int(child), depth - 1)


def _states(pid: int) -> Iterator[int]:
    for stat in _read_of_threads(pid, "stat"):
        # The name of a thread, in parentheses, may hold anything.
        yield stat[stat.rindex(b")") + 2]


def _read_of_threads(pid: int, name: str) -> Iterator[bytes]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return  # it has ended
    for thread in threads:
        # One thread may end while we look, the others go on; or the kernel has no `children`
        # (CONFIG_PROC_CHILDREN).
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield Path(f"/proc/{pid}/task/{thread}/{name}").read_bytes()
