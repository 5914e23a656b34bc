"""Two programs and one connection, or a few: each says as one line of JSON what it met.

    scenes.py SCENE server PORT
    scenes.py SCENE client HOST PORT

What they say must be the same under plg as over loopback. It stands alone (standard library only), because it
runs inside the processes of a run.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

PATIENCE_S = 10.0
BLOCK = bytes(range(256)) * 256  # 64 KiB
ABORT = struct.pack("ii", 1, 0)

Said = dict[str, object]


def listen(port: int, backlog: int = 16) -> socket.socket:
    return socket.create_server(("", port), backlog=backlog)


def accept(listener: socket.socket, patience_s: float = PATIENCE_S) -> socket.socket:
    listener.settimeout(patience_s)
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE_S)
    return connection


def call(host: str, port: int, patience_s: float = PATIENCE_S) -> socket.socket:
    """Connect, once the server listens: by asking, as any client without --ready would."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return socket.create_connection((host, port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def hear(connection: socket.socket) -> Said:
    """All that comes, and how it ends."""
    count, digest = 0, hashlib.sha256()
    try:
        while data := connection.recv(1 << 16):
            count += len(data)
            digest.update(data)
    except OSError as error:
        return {"heard": count, "end": _name(error)}
    return {"heard": count, "sum": digest.hexdigest()[:16], "end": "FIN"}


def abort(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    connection.close()


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


# -- the scenes: a server (given a port) and a client (given host and port) each


def abort_by_client_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        return hear(connection)


def abort_by_client_client(host: str, port: int) -> Said:
    connection = call(host, port)
    connection.sendall(b"and then")
    time.sleep(0.1)
    abort(connection)
    return {}


def abort_by_server_server(port: int) -> Said:
    with listen(port) as listener:
        connection = accept(listener)
        connection.sendall(b"and then")
        time.sleep(0.1)
        abort(connection)
    return {}


def abort_by_server_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        return hear(connection)


def abort_by_unread_bytes_server(port: int) -> Said:
    """close() with bytes unread sends RST, not FIN (RFC 2525, 2.17)."""
    with listen(port) as listener, accept(listener) as connection:
        connection.recv(3)
        time.sleep(0.1)
    return {}


def abort_by_unread_bytes_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        connection.sendall(b"more than three")
        return hear(connection)


def half_close_by_client_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        said = hear(connection)
        connection.sendall(BLOCK * 20)
        return said


def half_close_by_client_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        connection.sendall(BLOCK * 20 + b"last words")
        connection.shutdown(socket.SHUT_WR)
        return hear(connection)


def half_close_by_server_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        connection.sendall(b"no more from me")
        connection.shutdown(socket.SHUT_WR)
        return hear(connection)


def half_close_by_server_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        said = hear(connection)
        connection.sendall(BLOCK * 20)
        return said


def server_first_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        connection.sendall(b"220 ready\r\n")
        return hear(connection)


def server_first_client(host: str, port: int) -> Said:
    """Never says a word."""
    with call(host, port) as connection:
        return {"greeting": connection.recv(100).decode()}


def urgent_server(port: int) -> Said:
    with listen(port) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        with accept(listener) as connection:
            return hear(connection)


def urgent_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        for number in range(200):
            connection.sendall(BLOCK)
            if number % 50 == 25:
                connection.send(b"!", socket.MSG_OOB)
    return {}


def killed_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        return hear(connection)


def killed_client(host: str, port: int) -> Said:
    connection = call(host, port)
    connection.sendall(BLOCK * 16)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def refused_server(port: int) -> Said:
    return {}


def refused_client(host: str, port: int) -> Said:
    begin = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S)
    except OSError as error:
        return {"error": _name(error), "at once": time.monotonic() - begin < 1}
    return {"error": None}


def three_at_once_server(port: int) -> Said:
    """Serves three clients and closes its listener before it answers any."""
    with listen(port) as listener:
        connections = [accept(listener) for _ in range(3)]
    heard = sorted(connection.recv(10).decode() for connection in connections)
    for connection in connections:
        connection.sendall(b"served")
        connection.close()
    return {"heard": heard}


def three_at_once_client(host: str, port: int) -> Said:
    connections = [call(host, port)]
    connections += [socket.create_connection((host, port), timeout=PATIENCE_S) for _ in range(2)]
    for number, connection in enumerate(connections):
        connection.sendall(b"client %d" % number)
    return {"served": [hear(connection)["heard"] for connection in connections]}


def one_shot_server(port: int) -> Said:
    """Takes one of three and closes its listener: the kernel aborts the two that waited."""
    with listen(port) as listener:
        connection = accept(listener)
        connection.recv(1)  # the client has connected all three
    time.sleep(0.1)
    connection.sendall(b"served")
    connection.close()
    return {}


def one_shot_client(host: str, port: int) -> Said:
    connections = [call(host, port)]
    connections += [socket.create_connection((host, port), timeout=PATIENCE_S) for _ in range(2)]
    connections[0].sendall(b"!")
    return {"each": [hear(connection) for connection in connections]}


def no_phantom_server(port: int) -> Said:
    """Its queue holds one; it accepts only when all clients have come and gone."""
    with listen(port, backlog=0) as listener:
        first = accept(listener)
        time.sleep(3.5)  # the second waits in the queue, the third has given up, the kernel would ask again
        heard = [hear(first)["heard"]]
        try:
            while True:
                with accept(listener, 2.5) as connection:
                    heard.append(hear(connection)["heard"])
        except TimeoutError:
            return {"heard": heard}


def no_phantom_client(host: str, port: int) -> Said:
    with call(host, port) as first:
        time.sleep(0.3)
        with socket.create_connection((host, port), timeout=PATIENCE_S) as second:
            began = time.monotonic()
            try:
                socket.create_connection((host, port), timeout=1.6)
                outcome = "connected"
            except TimeoutError:
                outcome = "gave up"
            first.sendall(b"1")
            second.sendall(b"22")
            return {"third": outcome, "after": round(time.monotonic() - began, 1)}


def port_of_both_server(port: int) -> Said:
    """Hears from the client, then calls back to the very port that it was called from."""
    with listen(port) as listener, accept(listener) as connection:
        host, own = connection.getpeername()[:2]
        with call(host, own) as back:
            back.sendall(b"called back")
            return {"heard": hear(connection)["heard"]}


def port_of_both_client(host: str, port: int) -> Said:
    """Listens on the port from which it calls, as FTP's active mode and peer-to-peer programs do."""
    own = 45_454
    with _reusable(own) as listener:
        listener.listen()
        deadline = time.monotonic() + PATIENCE_S
        while (caller := _call_from(own, host, port)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        caller.sendall(b"hello")
        with accept(listener) as connection:
            caller.close()
            return {"called back": hear(connection)["heard"]}


def _call_from(own: int, host: str, port: int) -> socket.socket | None:
    caller = _reusable(own)
    caller.settimeout(PATIENCE_S)
    if caller.connect_ex((host, port)):
        caller.close()
        return None
    return caller


def _reusable(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("", port))
    return sock


def stalled_server(port: int) -> Said:
    with listen(port) as listener, accept(listener) as connection:
        connection.recv(1000)
        time.sleep(2)
        return hear(connection)


def stalled_client(host: str, port: int) -> Said:
    with call(host, port) as connection:
        for _ in range(1000):
            connection.sendall(BLOCK)
    return {}


def main() -> None:
    scene, role, *place = sys.argv[1:]
    play: Callable[..., Said] = globals()[f"{scene}_{role}"]
    *host, port = place
    print(json.dumps({role: play(*host, int(port))}), flush=True)


if __name__ == "__main__":
    main()
