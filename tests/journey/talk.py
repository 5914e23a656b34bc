"""The programs of the tests: small servers and clients that know what they said.

    talk.py echo PORT                       answers what it hears, on every connection, until it is ended
    talk.py sink PORT                       takes one connection to its end; says how much and which bytes
    talk.py pour HOST PORT COUNT            sends COUNT bytes of the pattern, waits for the other's end
    talk.py serve-each PORT COUNT WHO       COUNT connections one after another, a byte each way;
    talk.py call-each HOST PORT COUNT WHO   WHO closes first: client or server
    talk.py serve-all PORT COUNT            COUNT connections at once: all stand before any is answered
    talk.py call-all HOST PORT COUNT
    talk.py keep-server PORT FOLDER         load without end (pattern one way, small chunks both ways);
    talk.py keep-client HOST PORT FOLDER    each keeps what it received on a connection in a file there
    talk.py mix HOST PORT SECONDS           against echo: bulk, small and short connections, all compared

It stands alone (standard library only), because it runs inside the processes of a run.
"""

from __future__ import annotations

import json
import random
import resource
import selectors
import socket
import sys
import threading
import time
import zlib
from pathlib import Path

PATTERN = random.Random(7).randbytes(1 << 20)
READ = 1 << 18
TAG = 16
BULK, SMALL = b"B", b"s"
BULK_CONNECTIONS, SMALL_CONNECTIONS = 3, 12


def sum_of_pattern(count: int) -> tuple[int, int]:
    """Length and CRC-32 of the first `count` bytes of the endlessly repeated pattern."""
    crc, left = 0, count
    while left > 0:
        crc = zlib.crc32(PATTERN[:left] if left < len(PATTERN) else PATTERN, crc)
        left -= len(PATTERN)
    return count, crc


def tag(number: int) -> bytes:
    """What the client of that number says in `call-all`: nothing else in a dump looks like it."""
    return random.Random(number).randbytes(TAG)


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def listen(port: int) -> socket.socket:
    return socket.create_server(("", port), backlog=4096)


def echo(port: int) -> None:
    with listen(port) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo_one, args=(connection,), daemon=True).start()


def _echo_one(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(READ):
            connection.sendall(data)


def sink(port: int) -> None:
    with listen(port) as listener:
        connection, _ = listener.accept()
    with connection:
        _say(*_drain(connection))


def _drain(connection: socket.socket) -> tuple[int, int]:
    buffer = memoryview(bytearray(READ))
    count = crc = 0
    while size := connection.recv_into(buffer):
        count += size
        crc = zlib.crc32(buffer[:size], crc)
    return count, crc


def _say(count: int, crc: int) -> None:
    print(json.dumps({"bytes": count, "crc": crc}), flush=True)


def pour(host: str, port: int, count: int) -> None:
    with socket.create_connection((host, port)) as connection:
        _send_pattern(connection, count)
        connection.shutdown(socket.SHUT_WR)
        _drain(connection)


def _send_pattern(connection: socket.socket, count: int) -> None:
    while count > 0:
        part = PATTERN[:count] if count < len(PATTERN) else PATTERN
        connection.sendall(part)
        count -= len(part)


def serve_each(port: int, count: int, closer: str) -> None:
    with listen(port) as listener:
        for _ in range(count):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(1))
                if closer == "client":
                    connection.recv(1)


def call_each(host: str, port: int, count: int, closer: str) -> None:
    for number in range(count):
        with socket.create_connection((host, port)) as connection:
            byte = bytes([number % 256])
            connection.sendall(byte)
            if connection.recv(1) != byte:
                sys.exit(f"talk.py: connection {number}: another byte came back")
            if closer == "server" and connection.recv(1) != b"":
                sys.exit(f"talk.py: connection {number}: the server did not close")


def serve_all(port: int, count: int) -> None:
    raise_descriptor_limit()
    with listen(port) as listener:
        connections = [listener.accept()[0] for _ in range(count)]
    for connection in connections:
        with connection:
            connection.sendall(connection.recv(TAG, socket.MSG_WAITALL))


def call_all(host: str, port: int, count: int) -> None:
    raise_descriptor_limit()
    connections = [socket.socket() for _ in range(count)]
    ready = selectors.DefaultSelector()
    for connection in connections:
        connection.setblocking(False)
        connection.connect_ex((host, port))
        ready.register(connection, selectors.EVENT_WRITE)
    left = count
    while left:
        events = ready.select(timeout=30)
        if not events:
            sys.exit(f"talk.py: {left} of {count} connections did not come to stand")
        for key, _ in events:
            ready.unregister(key.fileobj)
            left -= 1
    for number, connection in enumerate(connections):
        connection.setblocking(True)
        connection.sendall(tag(number))
    for number, connection in enumerate(connections):
        with connection:
            if connection.recv(TAG, socket.MSG_WAITALL) != tag(number):
                sys.exit(f"talk.py: connection {number}: other bytes came back")


def keep_server(port: int, folder: Path) -> None:
    with listen(port) as listener:
        while True:
            connection, peer = listener.accept()
            threading.Thread(
                target=_keep_serving, args=(connection, folder / f"server-{peer[1]}"), daemon=True
            ).start()


def _keep_serving(connection: socket.socket, kept: Path) -> None:
    with connection, kept.open("wb", buffering=0) as file:
        first = connection.recv(1)
        file.write(first)
        if first == BULK:
            while True:
                connection.sendall(PATTERN)
        while data := connection.recv(READ):
            file.write(data)
            connection.sendall(data)


def keep_client(host: str, port: int, folder: Path) -> None:
    kinds = [BULK] * BULK_CONNECTIONS + [SMALL] * SMALL_CONNECTIONS
    for kind in kinds:
        threading.Thread(target=_keep_calling, args=(host, port, folder, kind), daemon=True).start()
    (folder / "begun").touch()
    threading.Event().wait()


def _keep_calling(host: str, port: int, folder: Path, kind: bytes) -> None:
    with socket.create_connection((host, port)) as connection:
        own = connection.getsockname()[1]
        with (folder / f"client-{own}").open("wb", buffering=0) as file:
            connection.sendall(kind)
            number = 0
            while True:
                if kind == SMALL:
                    number += 1
                    connection.sendall(f"{own}:{number};".encode() * (1 + number % 40))
                # What is in the file has been heard: nothing is written before it came.
                file.write(connection.recv(READ))


def mix(host: str, port: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    counts: list[int] = []
    failures: list[str] = []

    def loop(size: int, per_connection: int, pause_s: float) -> None:
        try:
            while time.monotonic() < end:
                with socket.create_connection((host, port), timeout=30) as connection:
                    for _ in range(per_connection):
                        _round_trip(connection, size)
                        time.sleep(pause_s)
                        if time.monotonic() > end:
                            break
                counts.append(size)
        except (OSError, ValueError) as error:
            failures.append(f"{size} bytes: {error}")

    # The pause keeps ten minutes of it to some gigabytes of dump.
    plans = [(1 << 20, 200, 0.1), (200, 5000, 0.0), (1, 5000, 0.0), (64, 1, 0.0), (20_000, 3, 0.01)]
    threads = [threading.Thread(target=loop, args=plan) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit(f"talk.py: {'; '.join(failures)}")
    print(json.dumps({"connections": len(counts)}), flush=True)


def _round_trip(connection: socket.socket, size: int) -> None:
    start = random.randrange(len(PATTERN))
    data = (PATTERN[start:] + PATTERN[:start])[:size]
    # From a second thread: an echo of a MiB blocks both sides if nobody reads meanwhile.
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    heard = bytearray()
    while len(heard) < size:
        more = connection.recv(READ)
        if not more:
            raise ValueError("the server closed early")
        heard += more
    sender.join()
    if heard != data:
        raise ValueError("other bytes came back")


def main(what: str, *rest: str) -> None:
    numbers = [int(word) if word.isdigit() else word for word in rest]
    parts = {
        "echo": echo,
        "sink": sink,
        "pour": pour,
        "serve-each": serve_each,
        "call-each": call_each,
        "serve-all": serve_all,
        "call-all": call_all,
        "keep-server": lambda port, folder: keep_server(port, Path(folder)),
        "keep-client": lambda host, port, folder: keep_client(host, port, Path(folder)),
        "mix": mix,
    }
    parts[what](*numbers)  # type: ignore[operator]  # each part has its own words; see the head


if __name__ == "__main__":
    main(*sys.argv[1:])
