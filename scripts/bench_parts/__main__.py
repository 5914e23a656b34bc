"""`python -m bench_parts`, with the environment that `scripts/bench` made."""

from __future__ import annotations

import sys

from bench_parts.main import main

sys.exit(main(sys.argv[1:]))
