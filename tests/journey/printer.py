"""Prints so many numbered lines of 79 octets to stdout."""

from __future__ import annotations

import sys

for number in range(int(sys.argv[1])):
    sys.stdout.buffer.write(b"%078d\n" % number)
