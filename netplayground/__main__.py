"""`python -m netplayground` and the console script `plg`."""

from __future__ import annotations

import signal
import sys

# Who interrupts plg before it can say so in one line ends it as any program, without a traceback.
_is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _is_heard:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from netplayground.cli.main import main  # noqa: E402

if _is_heard:
    signal.signal(signal.SIGINT, signal.default_int_handler)

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
