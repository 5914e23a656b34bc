"""Servers for the tests of the Python API: `upper PORT` answers each line and datagram in capitals, over IPv4
and IPv6; `relay PORT HOST PORT` asks another such server for each line, and adds that it did;
`ask PORT HOST WORD` is a client that does so once."""

from __future__ import annotations

import socket
import socketserver
import sys
import threading


class Upper(socketserver.StreamRequestHandler):
    """Capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Relay(socketserver.StreamRequestHandler):
    """Somebody else's answer, a connection for each line."""

    behind = ("", 0)

    def handle(self) -> None:
        for line in self.rfile:
            with socket.create_connection(self.behind) as behind, behind.makefile("rwb") as file:
                file.write(line)
                file.flush()
                self.wfile.write(b"relayed " + file.readline())


class Server(socketserver.ThreadingTCPServer):
    """Both families on one socket."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def answer_datagrams(port: int) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as here:
        here.bind(("::", port))
        while True:
            data, sender = here.recvfrom(65536)
            here.sendto(data.upper(), sender)


def ask(host: str, port: int, word: str) -> None:
    with socket.create_connection((host, port)) as connection, connection.makefile("rwb") as file:
        file.write(word.encode() + b"\n")
        file.flush()
        print(file.readline().decode(), end="")


def main(what: str, port: str, *rest: str) -> None:
    if what == "ask":
        ask(rest[0], int(port), rest[1])
        return
    handler: type[socketserver.StreamRequestHandler] = Upper
    if what == "relay":
        handler = Relay
        Relay.behind = (rest[0], int(rest[1]))
    else:
        threading.Thread(target=answer_datagrams, args=[int(port)], daemon=True).start()
    with Server(("::", int(port)), handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
