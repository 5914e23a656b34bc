"""The last will of a network namespace: to let go soon of what nobody will answer any more.

Sockets of processes that have ended, with bytes under way, keep their namespace until the kernel stops to
repeat these: tcp_orphan_retries, by default for a minute or two (ip-sysctl.rst). Once the router is gone
nobody answers. From the start the shorter setting would cut off what a program that has ended still has to
say.
"""

from __future__ import annotations

import contextlib
import os


class LastWill:
    """Made in the namespace (a descriptor of /proc/sys/net keeps to the one that it was opened in).

    PID 1 executes it when plg is gone, plg itself at the orderly end of a run.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.open("/proc/sys/net/ipv4/tcp_orphan_retries", os.O_WRONLY | os.O_CLOEXEC)
        self.descriptor = descriptor

    def execute(self) -> None:
        """Carry it out; nobody is left whom an error could be told."""
        with contextlib.suppress(OSError):
            os.write(self.descriptor, b"1")
