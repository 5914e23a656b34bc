"""`python -m netplayground` and the console script `plg`."""

from __future__ import annotations

import sys

from netplayground.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
