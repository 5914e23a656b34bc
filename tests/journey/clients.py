"""The clients of the replays: each prints what it heard, in an order that its own scheduling does not change.

    clients.py pool HOST PORT COUNT WORKERS each|keep   WORKERS workers take the next of COUNT files from one
                                                        queue; a connection for each, or one for each worker
    clients.py download HOST PORT COUNT                 COUNT files at once, in another order each time
    clients.py smtp HOST PORT                           a conversation in which the server speaks first
    clients.py dialogue HOST PORT [HOW]                 two connections, three requests each, against an echo;
                                                        HOW: what it does otherwise
    clients.py slow-dialogue HOST PORT                  a hundred requests in two seconds, on one connection
    clients.py shout PORT                               answers in capitals
    clients.py websocket-serve PORT                     one connection: a handshake and an echo
    clients.py websocket HOST PORT
    clients.py tick PORT SECONDS                        says the time of its clock, over and over
    clients.py listen HOST PORT                         how much later the last chunks came than the first

It stands alone (standard library only), because it runs inside the processes of a run.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import os
import queue
import random
import smtplib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable

WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def pool(host: str, port: str, count: str, workers: str, how: str) -> None:
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(int(count)):
        todo.put(number)
    heard: dict[int, str] = {}
    if how == "each":
        _together([lambda: _each(host, int(port), todo, heard)] * int(workers))
    else:
        asyncio.run(_keep_all(host, int(port), todo, heard, int(workers)))
    _print_sorted(heard)


def _each(host: str, port: int, todo: queue.SimpleQueue[int], heard: dict[int, str]) -> None:
    while (number := _next(todo)) is not None:
        connection = http.client.HTTPConnection(host, port, timeout=60)
        heard[number] = _fetch(connection, number)
        connection.close()


async def _keep_all(
    host: str, port: int, todo: queue.SimpleQueue[int], heard: dict[int, str], workers: int
) -> None:
    """One thread: who takes what next is decided by whose answer comes first, and by nothing else. On
    connections that are kept, threads would make another choice each time."""
    connections = [await asyncio.open_connection(host, port) for _ in range(workers)]
    await asyncio.gather(*(_keep(*connection, todo, heard) for connection in connections))


async def _keep(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    todo: queue.SimpleQueue[int],
    heard: dict[int, str],
) -> None:
    while (number := _next(todo)) is not None:
        writer.write(b"GET /f%d HTTP/1.1\r\nHost: server\r\n\r\n" % number)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        body = await reader.readexactly(int(length.partition(b": ")[2]))
        heard[number] = hashlib.sha256(body).hexdigest()[:16]
    writer.close()
    await writer.wait_closed()


def _next(todo: queue.SimpleQueue[int]) -> int | None:
    try:
        return todo.get_nowait()
    except queue.Empty:
        return None


def _fetch(connection: http.client.HTTPConnection, number: int) -> str:
    connection.request("GET", f"/f{number}", headers={"Connection": "close"})
    answer = connection.getresponse()
    return f"{answer.status} {hashlib.sha256(answer.read()).hexdigest()[:16]}"


def _together(parts: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _print_sorted(heard: dict[int, str]) -> None:
    for number, what in sorted(heard.items()):
        print(number, what)


def download(host: str, port: str, count: str) -> None:
    numbers = list(range(int(count)))
    random.shuffle(numbers)
    heard: dict[int, str] = {}

    def fetch(number: int) -> None:
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        heard[number] = _fetch(connection, number)
        connection.close()

    _together([lambda number=number: fetch(number) for number in numbers])  # type: ignore[misc]
    _print_sorted(heard)


def smtp(host: str, port: str) -> None:
    with smtplib.SMTP(host, int(port), local_hostname="client", timeout=30) as server:
        print(server.ehlo())
        for number in range(3):
            body = f"Subject: letter {number}\n\n" + "All work and no play.\n" * 100 * number
            print(server.sendmail("a@client", ["b@server", "c@server"], body))
        print(server.docmd("VRFY", "somebody"), server.docmd("NONSENSE"), server.noop())


def dialogue(host: str, port: str, how: str = "") -> None:
    """The answers are printed. HOW concerns the second request of the second connection."""
    for number in range({"one-less": 1, "one-more": 3}.get(how, 2)):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            for turn in range(3):
                request = b"connection %d, request %d\n" % (number, turn)
                if (number, turn) == (1, 1):
                    if how == "abort":
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        break
                    request = _altered(request, how)
                    if how == "silent":
                        time.sleep(60)
                connection.sendall(request)
                print(_read_line(connection))


def slow_dialogue(host: str, port: str) -> None:
    """The same words for two seconds, on one connection; who hears no more is content."""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for number in range(100):
            connection.sendall(b"request %d\n" % number)
            print(_read_line(connection), flush=True)
            time.sleep(0.02)


def shout(port: str) -> None:
    """An echo, but in capitals."""
    with socket.create_server(("", int(port))) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                while line := _read_line(connection):
                    connection.sendall(line.upper())


def _altered(request: bytes, how: str) -> bytes:
    if how == "changed":
        return request.replace(b"request", b"reqUest")
    if how == "dropped":
        return request.replace(b"request", b"reqest")
    return request.replace(b"request", b"request!") if how == "added" else request


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and (more := connection.recv(1)):
        line += more
    return line


def websocket_serve(port: str) -> None:
    with socket.create_server(("", int(port))) as listener:
        connection, _ = listener.accept()
    with connection:
        request = _read_head(connection)
        key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
        accept = _accept_of(key.partition(b": ")[2])
        words = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(words + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        connection.sendall(connection.recv(1000))


def websocket(host: str, port: str) -> None:
    key = base64.b64encode(os.urandom(16))
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        words = b"GET /chat HTTP/1.1\r\nHost: server\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(words + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
        if b"Sec-WebSocket-Accept: " + _accept_of(key) not in _read_head(connection):
            sys.exit("clients.py: this is not the answer to my key")
        connection.sendall(b"\x81\x02hi")
        print(connection.recv(4, socket.MSG_WAITALL))


def _accept_of(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + WEBSOCKET).digest())


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            sys.exit(f"clients.py: closed after {head!r}")
        head += more
    return head


def tick(port: str, seconds: str) -> None:
    with socket.create_server(("", int(port))) as listener:
        connection, _ = listener.accept()
    begin = time.monotonic()
    with connection:
        number = 0
        while number * 0.05 <= float(seconds):
            time.sleep(max(0.0, begin + number * 0.05 - time.monotonic()))
            connection.sendall(b"%10.6f\n" % (time.monotonic() - begin))
            number += 1


def listen(host: str, port: str) -> None:
    """The lateness of the last chunks against that of the first, in seconds: of ten each the least late one,
    for a busy machine delays some."""
    late: list[float] = []
    with socket.create_connection((host, int(port)), timeout=300) as connection:
        while line := connection.recv(11, socket.MSG_WAITALL):
            late.append(time.monotonic() - float(line))
    print(f"{min(late[-10:]) - min(late[:10]):.6f}")


def main(what: str, *words: str) -> None:
    parts: dict[str, Callable[..., None]] = {
        "pool": pool,
        "download": download,
        "smtp": smtp,
        "dialogue": dialogue,
        "shout": shout,
        "slow-dialogue": slow_dialogue,
        "websocket-serve": websocket_serve,
        "websocket": websocket,
        "tick": tick,
        "listen": listen,
    }
    parts[what](*words)


if __name__ == "__main__":
    main(*sys.argv[1:])
