"""The client and the server of the datagram measures, the same for every way.

    datagram_peers.py server PORT                          hears datagrams; over TCP it says how many came
    datagram_peers.py flow HOST PORT RATE SECONDS RESULT   64 bytes each, RATE a second (0: all that goes)
    datagram_peers.py pingpong HOST PORT SECONDS RESULT    64 bytes to and fro

It stands alone (standard library only), because it runs inside the namespaces of each way.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from pathlib import Path

MESSAGE = bytes(range(64))
QUESTION = b"?" * 64  # is sent back
STEP_S = 0.0005  # of the paced flow: what is due then goes at once
OVERDRIVEN_STEP = 64
QUIET_S = 0.5
PATIENCE_S = 2.0


class Server:
    """Counts datagrams; whoever connects over TCP is told how many."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self._own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._own.bind(("", port))
        self._listener = socket.create_server(("", port))

    def run(self) -> None:
        threading.Thread(target=self._tell, daemon=True).start()
        buffer = bytearray(2048)
        while True:
            size, peer = self._own.recvfrom_into(buffer)
            self.count += 1
            if buffer[0] == QUESTION[0]:
                self._own.sendto(memoryview(buffer)[:size], peer)

    def _tell(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                connection.sendall(b"%d\n" % self.count)


def flow(host: str, port: int, rate: float, seconds: float, result: Path) -> None:
    own = _connect(host, port)
    before = _heard(host, port)
    start = now = time.monotonic()
    sent, send = 0, own.send
    while now < start + seconds:
        due = int((now - start) * rate) if rate else sent + OVERDRIVEN_STEP
        while sent < due:
            send(MESSAGE)
            sent += 1
        if rate:
            time.sleep(STEP_S)
        now = time.monotonic()
    took = now - start
    heard = _heard_in_the_end(host, port) - before
    _report(result, {"sent": sent, "heard": heard, "sent_s": sent / took, "heard_s": heard / took})


def _heard(host: str, port: int) -> int:
    with socket.create_connection((host, port)) as connection:
        return int(connection.makefile().readline())


def _heard_in_the_end(host: str, port: int) -> int:
    """When no more comes."""
    count = -1
    while (now := _heard(host, port)) != count:
        count = now
        time.sleep(QUIET_S)
    return count


def pingpong(host: str, port: int, seconds: float, result: Path) -> None:
    own, times = _connect(host, port), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter_ns()
        own.send(QUESTION)
        own.recv(2048)
        times.append(time.perf_counter_ns() - start)
    times.sort()
    _report(result, {"p50_us": times[len(times) // 2] / 1000, "p99_us": times[len(times) * 99 // 100] / 1000})


def _connect(host: str, port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.settimeout(PATIENCE_S)
    own.connect((host, port))
    return own


def _report(result: Path, figures: dict[str, float]) -> None:
    result.write_text(json.dumps(figures))


def main(what: str, *rest: str) -> None:
    if what == "server":
        Server(int(rest[0])).run()
    elif what == "flow":
        flow(rest[0], int(rest[1]), float(rest[2]), float(rest[3]), Path(rest[4]))
    elif what == "pingpong":
        pingpong(rest[0], int(rest[1]), float(rest[2]), Path(rest[3]))
    else:
        sys.exit(f"datagram_peers.py: unknown part: {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
