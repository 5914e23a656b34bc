"""How much of each part is kept where not all of it fits: as much of the beginning of each as is possible."""

from __future__ import annotations

from collections.abc import Iterable


def fair_limit(sizes: Iterable[int], room: int) -> int:
    """The largest limit such that the parts, each cut to it, fit together into `room`.

    What is shorter than the limit is whole, so small parts are never cut for the sake of large ones.
    """
    ordered = sorted(sizes)
    for at, size in enumerate(ordered):
        remaining = len(ordered) - at
        if size * remaining > room:
            return room // remaining
        room -= size
    return ordered[-1] if ordered else 0
