"""A small shop, over HTTP and JSON, that keeps its orders in Redis: `service.py PORT DB_HOST DB_PORT`.

POST /orders {"item": …, "count": …}  → 201 {"id": …}        GET /orders/ID  → 200 {…}, 404
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = int | bytes | list["Answer"] | None


class Database:
    """One connection to Redis (RESP 2)."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=10)
        self._file = self._socket.makefile("rb")

    def ask(self, *words: object) -> Answer:
        parts = [str(word).encode() for word in words]
        said = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        self._socket.sendall(b"*%d\r\n%s" % (len(parts), said))
        return self._answer()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _answer(self) -> Answer:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest


class Shop(BaseHTTPRequestHandler):
    """The service."""

    database = ("", 0)

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if order["count"] < 1:
            self._answer(400, {"error": "count must be at least 1"})
            return
        database = Database(*self.database)
        number = database.ask("INCR", "orders")
        assert isinstance(number, int)
        database.ask("HSET", f"order:{number}", "item", order["item"], "count", order["count"])
        database.close()
        self._answer(201, {"id": number})

    def do_GET(self) -> None:
        database = Database(*self.database)
        fields = database.ask("HGETALL", f"order:{self.path.rpartition('/')[2]}")
        database.close()
        assert isinstance(fields, list)
        if not fields:
            self._answer(404, {"error": "no such order"})
            return
        words = [field.decode() for field in fields if isinstance(field, bytes)]
        self._answer(200, dict(zip(words[::2], words[1::2], strict=True)))

    def _answer(self, status: int, value: Mapping[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(port: str, database: str, database_port: str) -> None:
    Shop.database = database, int(database_port)
    ThreadingHTTPServer(("0.0.0.0", int(port)), Shop).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
