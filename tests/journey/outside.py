"""The same commands without plg: on the loopback of a network namespace that has the processes' addresses.

What a program says there is what it must say under plg. The commands run in a PID namespace of their own, so
that all of them end with the last one.
"""

from __future__ import annotations

import re

from journey.runs import Ended, Place, run

from needs import needs_program, needs_root

# $1: the port to wait for, in hexadecimal. The commands but for the last are servers; the last one's status
# counts.
STAGE = """
port=$1; shift
ip link set lo up
position=1
for command; do ip address add 10.0.0.$position/32 dev lo; position=$((position + 1)); done
while [ $# -gt 1 ]; do
    sh -c "$1" & shift
    until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$port [0-9A-F:]* 0A "; do sleep 0.02; done
done
sh -c "$1"
"""


def outside(place: Place, *commands: str, port: int, deadline_s: float = 30) -> Ended:
    needs_root()
    needs_program("unshare", "ip")
    stage = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        STAGE,
        "outside",
    ]
    return run(place, [*stage, f"{port:04X}", *commands], deadline_s=deadline_s)


def same_outside(inside: Ended, there: Ended, *, figures: bool = False) -> None:
    """Assert that a run said what the same commands said outside; with `figures`, numbers may be others."""
    assert there.status == 0, there
    assert _words(inside.stdout, figures) == _words(there.stdout, figures)


def _words(text: str, figures: bool) -> list[str]:
    return [re.sub(r"[\d.]+\S*", "#", line) if figures else line for line in text.splitlines()]
