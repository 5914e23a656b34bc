"""A witness on the wire: runs a command while tcpdump captures what crosses this process's TUN device.

    witness.py CAPTURE PEER COMMAND

It stands alone (standard library only) and runs inside a process of the run, as root there. The capture is
complete when it holds a marker, a datagram to PEER that is sent after the command has ended: no waiting for
luck.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_S = 10.0
PCAP_HEADER = 24
DISCARD_PORT = 9


def main(capture: Path, peer: str, command: str) -> int:
    words = [
        "tcpdump",
        "-i",
        "tun0",
        "-w",
        str(capture),
        "-U",
        "--immediate-mode",
        # Each packet takes a slot of the longest that is kept: at tcpdump's own length there would be 250.
        "-s",
        "65535",
        "-B",
        "131072",
        "-Z",
        "root",
    ]
    with Path(f"{capture}.log").open("wb") as log:
        tcpdump = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    _wait_until(lambda: capture.exists() and capture.stat().st_size >= PCAP_HEADER, "tcpdump did not start")
    # Python ignores SIGPIPE; the command gets what a shell would give it.
    status = subprocess.run(["sh", "-c", command], restore_signals=True).returncode
    marker = os.urandom(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(marker, (peer, DISCARD_PORT))
    _wait_until(lambda: marker in _tail(capture), "the capture does not come to its end")
    tcpdump.send_signal(signal.SIGINT)
    tcpdump.wait(DEADLINE_S)
    if " 0 packets dropped by kernel" not in f" {Path(f'{capture}.log').read_text()}".replace("\n", " "):
        sys.exit("witness.py: the capture lost packets")
    return status if status >= 0 else 128 - status


def _tail(capture: Path) -> bytes:
    with capture.open("rb") as file:
        file.seek(max(0, capture.stat().st_size - 65536))
        return file.read()


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"witness.py: {complaint}")
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
