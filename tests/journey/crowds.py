"""Imports of captures in which nothing comes to an end, with NumPy and without, and the memory they take."""

from __future__ import annotations

import os
import subprocess
import sys

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
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        words_said = (place.path / "said").read_text()
        assert process.returncode == 0, words_said
        assert f"{count:,} connections" in words_said
        memory = usage.ru_maxrss << 10
        print(f"        {kind:16} {name:12} {memory >> 20} MiB", flush=True)
        assert memory <= MEMORY_MOST, f"{kind}, {name}: {memory:,} bytes"
