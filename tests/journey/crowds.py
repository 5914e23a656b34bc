"""Imports of captures in which nothing comes to an end, with NumPy and without, and the memory they take."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from capture.crowds import KINDS, write_crowd
from journey.runs import Place, plg

MEMORY_MOST = 300 << 20
_WITHOUT_NUMPY = (
    "import sys; sys.modules['numpy'] = None; "
    "from netplayground.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def imports(place: Place, kind: str, count: int) -> None:
    """One kind of crowd, both ways; neither takes more memory than an import may."""
    capture = write_crowd(place.path / "crowd.pcap", KINDS[kind], count)
    words = ["import", str(capture), "-f", str(place.dump)]
    for name, command in (
        ("with NumPy", plg(*words)),
        ("without", [sys.executable, "-c", _WITHOUT_NUMPY, *words]),
    ):
        with (place.path / "said").open("wb") as said:
            process = subprocess.Popen(command, stderr=said, env=place.environment(), cwd=place.path)
        together = _wait(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        words_said = (place.path / "said").read_text()
        assert process.returncode == 0, words_said
        assert f"{count:,} connections" in words_said
        memory = max(usage.ru_maxrss << 10, together)
        print(f"        {kind:16} {name:12} {memory >> 20} MiB", flush=True)
        assert memory <= MEMORY_MOST, f"{kind}, {name}: {memory:,} bytes"


def _wait(pid: int) -> int:
    """Wait until a process has ended; gives the most memory that it and its children had, in bytes, as far as
    looking at it now and then tells: what they share is counted once (Pss, proc_pid_smaps(5))."""
    most = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        with contextlib.suppress(OSError):  # one has ended
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            most = max(most, sum(map(_proportional, (str(pid), *children))))
        time.sleep(0.05)
    return most


def _proportional(pid: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
