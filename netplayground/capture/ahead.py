"""Work that is done one step ahead, or one behind: in a thread, while this one goes on.

Reading, NumPy and writing leave the interpreter to others while they are at it, so that two cores have
something to do. At most one finished item waits, while the thread makes another.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """The items of `source`, which only the thread touches; `close` must be called, then it is over."""

    def __init__(self, source: Iterable[Item]) -> None:
        self._items: deque[Item] = deque()
        self._room = threading.Semaphore(1)
        self._ready = threading.Semaphore(0)
        self._error: BaseException | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, args=(source,), daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        self._ready.acquire()
        if self._items:
            item = self._items.popleft()
            self._room.release()
            return item
        # Whoever asks again is told again.
        self._ready.release()
        if self._error is not None:
            raise self._error
        raise StopIteration

    def close(self) -> None:
        """Let the thread stop after the item that it is at."""
        self._is_closed = True
        self._room.release()
        self._thread.join()

    def _work(self, source: Iterable[Item]) -> None:
        try:
            for item in source:
                self._room.acquire()
                if self._is_closed:
                    break
                self._items.append(item)
                self._ready.release()
        except BaseException as error:
            # It is raised where the item is asked for.
            self._error = error
        self._ready.release()


class Behind:
    """One piece of work at a time, done in a thread; `close` must be called, then it is over."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def do(self, work: Callable[..., None], *arguments: Any) -> None:
        """Begin a piece of work, when that before it is done."""
        self.wait()
        self._last = self._pool.submit(work, *arguments)

    def wait(self) -> None:
        """Wait for what is being done; what has failed there fails here, whenever it is waited for."""
        if self._last is not None:
            self._last.result()

    def close(self) -> None:
        """Wait, whatever came of it."""
        self._pool.shutdown()


class AtOnce(Behind):
    """The same, but nothing is left for later: whoever gives work takes back, then, what it is done with."""

    def __init__(self) -> None:
        self._last = None

    def do(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do a piece of work."""
        work(*arguments)

    def close(self) -> None:
        """There is nothing to wait for."""
