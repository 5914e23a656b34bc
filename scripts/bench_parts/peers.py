"""The same small client and server for every way: ping-pong, one connection after another, idle connections.

    peers.py echo PORT                           a server: answers each chunk with itself
    peers.py pingpong HOST PORT SECONDS RESULT   64 bytes to and fro; the round-trip times to RESULT
    peers.py connects HOST PORT SECONDS RESULT   open, one byte each way, close; as often as fits
    peers.py pour PORT MIB                       a server: that much to its first client
    peers.py drain HOST PORT                     takes all there is, and says how much that was
    peers.py idle HOST PORT COUNT RESULT GO STOP waits for the file GO, opens COUNT, waits for the file STOP

It stands alone (standard library only), because it runs inside the namespaces of each way.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

MESSAGE = bytes(range(64))
WARM_UP = 200  # round trips before the first that counts
GATE_DEADLINE_S = 120.0


def raise_descriptor_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def echo(port: int) -> None:
    raise_descriptor_limit()
    listener = socket.create_server(("", port), backlog=4096)
    listener.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                _accept(listener, ready)
            else:
                _answer(key.fileobj, ready)  # type: ignore[arg-type]  # only sockets are registered


def _accept(listener: socket.socket, ready: selectors.BaseSelector) -> None:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready.register(connection, selectors.EVENT_READ)


def _answer(connection: socket.socket, ready: selectors.BaseSelector) -> None:
    try:
        data = connection.recv(65536)
    except ConnectionResetError:
        data = b""
    if data:
        connection.sendall(data)
        return
    ready.unregister(connection)
    connection.close()


def pingpong(host: str, port: int, seconds: float, result: Path) -> None:
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(WARM_UP):
            _round_trip(connection)
        times = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            times.append(_round_trip(connection))
    times.sort()
    _report(
        result, {"count": len(times), "p50_us": _percentile(times, 0.50), "p99_us": _percentile(times, 0.99)}
    )


def _round_trip(connection: socket.socket) -> int:
    start = time.perf_counter_ns()
    connection.sendall(MESSAGE)
    left = len(MESSAGE)
    while left:
        data = connection.recv(left)
        if not data:
            raise ConnectionError("the server closed in the middle of a round trip")
        left -= len(data)
    return time.perf_counter_ns() - start


def _percentile(ordered: list[int], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000


def pour(port: int, mib: int) -> None:
    with socket.create_server(("", port)) as listener:
        connection, _ = listener.accept()
    with connection:
        for _ in range(mib):
            connection.sendall(bytes(1 << 20))


def drain(host: str, port: int) -> None:
    total, buffer = 0, bytearray(1 << 20)
    with socket.create_connection((host, port)) as connection:
        while size := connection.recv_into(buffer):
            total += size
    print(total)


def connects(host: str, port: int, seconds: float, result: Path) -> None:
    count = 0
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        with socket.create_connection((host, port)) as connection:
            connection.sendall(b"?")
            if connection.recv(1) != b"?":
                raise ConnectionError("the server did not answer")
        count += 1
    _report(result, {"count": count, "per_second": count / (time.monotonic() - start)})


def idle(host: str, port: int, count: int, result: Path, go: Path, stop: Path) -> None:
    """Open connections until `count` stand or one is not served; after a byte each way each is idle."""
    limit = raise_descriptor_limit()
    _wait_until(go.exists)
    held: list[socket.socket] = []
    refusal = ""
    while len(held) < min(count, limit - 50) and not refusal:
        try:
            connection = socket.create_connection((host, port), timeout=5)
            held.append(connection)
            connection.sendall(b"?")
            if connection.recv(1) != b"?":
                raise ConnectionError("closed without an answer")
        except OSError as error:
            refusal = str(error)
    served = len(held) - 1 if refusal and held else len(held)
    _report(result, {"open": served, "refusal": refusal})
    _wait_until(stop.exists)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + GATE_DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the bench did not come back")
        time.sleep(0.02)


def _report(result: Path, figures: dict[str, object]) -> None:
    """Write the figures so that who sees the file sees all of it."""
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(figures))
    partial.rename(result)


def main(what: str, *rest: str) -> None:
    if what == "echo":
        echo(int(rest[0]))
    elif what == "pingpong":
        pingpong(rest[0], int(rest[1]), float(rest[2]), Path(rest[3]))
    elif what == "connects":
        connects(rest[0], int(rest[1]), float(rest[2]), Path(rest[3]))
    elif what == "pour":
        pour(int(rest[0]), int(rest[1]))
    elif what == "drain":
        drain(rest[0], int(rest[1]))
    elif what == "idle":
        idle(rest[0], int(rest[1]), int(rest[2]), Path(rest[3]), Path(rest[4]), Path(rest[5]))
    else:
        sys.exit(f"peers.py: unknown part: {what}")


if __name__ == "__main__":
    main(*sys.argv[1:])
