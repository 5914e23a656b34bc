"""The terminal that a single command takes over from plg, and that plg takes back."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any


class Terminal:
    """Standard input, if it is a terminal whose foreground plg is; else nothing happens here."""

    def __init__(self) -> None:
        self.is_ours = _is_foreground()
        self._former_handler: Any = signal.SIG_DFL

    def lend(self) -> None:
        """The command may be the foreground from now on; plg must not be stopped for what it prints then."""
        if self.is_ours:
            self._former_handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def take_back(self) -> None:
        if self.is_ours:
            with contextlib.suppress(OSError):
                os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, self._former_handler)
            self.is_ours = False


def _is_foreground() -> bool:
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        # A terminal, but not the one that controls plg.
        return False
