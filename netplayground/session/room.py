"""How many connections fit: each takes two descriptors, and the kernel gives a process only so many."""

from __future__ import annotations

import os
import resource

_WANTED_DESCRIPTORS = 1 << 20
_SPARE_DESCRIPTORS = 192  # listeners that wait for the next SYN, connections that are being refused, files
PLENTY = 10_000  # connections; with less room than that, the run says so at its start


def raise_descriptor_limit() -> None:
    """Take as many descriptors as the kernel allows this user."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (_WANTED_DESCRIPTORS, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return
        except (OSError, ValueError):
            continue  # above the hard limit only root may go, and not everywhere; the hard limit itself works


def room_for_connections() -> int:
    """How many connections fit into what is left of the descriptor limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    return max(0, (soft - used - _SPARE_DESCRIPTORS) // 2)
