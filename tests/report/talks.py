"""Recordings for the tests of the page: what programs said, as bytes, and dumps that hold it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dump.making import RUN, opened, say, writing

from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.recording import open_recording
from netplayground.dump.writer import DumpWriter
from netplayground.packet import udp
from netplayground.report.content import Content, Room, read_content

Said = tuple[int, bytes]

HTTP: tuple[Said, ...] = (
    (CLIENT, b"POST /a?b=1 HTTP/1.1\r\nHost: db\r\nContent-Length: 5\r\n\r\nhello"),
    (
        SERVER,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\n\nlater\r\n0\r\n\r\n",
    ),
    (CLIENT, b"HEAD /none HTTP/1.1\r\nHost: db\r\n\r\n"),
    (SERVER, b"HTTP/1.1 404 Not Found\r\nContent-Length: 99\r\n\r\n"),
)
REDIS: tuple[Said, ...] = (
    (CLIENT, b"*2\r\n$3\r\nGET\r\n$6\r\ncolour\r\n*1\r\n$4\r\nPI"),
    (SERVER, "$5\r\ngrün\r\n".encode()),
    (CLIENT, b"NG\r\n*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n"),
    (SERVER, b"+PONG\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    (CLIENT, b"*1\r\n$4\r\nNOPE\r\n"),
    (SERVER, b"-ERR unknown command\r\n"),
)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def _row(*values: bytes) -> bytes:
    return len(values).to_bytes(2, "big") + b"".join(len(each).to_bytes(4, "big") + each for each in values)


POSTGRES: tuple[Said, ...] = (
    (CLIENT, (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")),
    (SERVER, b"N"),
    (CLIENT, _message(b"", (196608).to_bytes(4, "big") + b"user\0me\0database\0shop\0\0")),
    (SERVER, _message(b"R", bytes(4)) + _message(b"Z", b"I")),
    (CLIENT, _message(b"Q", b"select name from things\0")),
    (
        SERVER,
        _message(b"T", b"\0\1name\0" + bytes(18))
        + _message(b"D", _row(b"lamp"))
        + _message(b"C", b"SELECT 1\0")
        + _message(b"Z", b"I"),
    ),
    (CLIENT, _message(b"Q", b"select nothing\0")),
    (SERVER, _message(b"E", b"SERROR\0C42703\0Mno such column\0\0") + _message(b"Z", b"I")),
)
_NAME = b"\7example\3org\0"
DNS: tuple[Said, ...] = (
    (CLIENT, b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + _NAME + b"\0\1\0\1"),
    (
        SERVER,
        b"\x12\x34\x81\x80\0\1\0\1\0\0\0\0"
        + _NAME
        + b"\0\1\0\1"
        + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7",
    ),
    (CLIENT, b"\x12\x35\1\0\0\1\0\0\0\0\0\0" + _NAME + b"\0\x1c\0\1"),
    (SERVER, b"\x12\x35\x81\x83\0\1\0\0\0\0\0\0" + _NAME + b"\0\x1c\0\1"),
)


def talk(writer: DumpWriter, said: Iterable[Said], port: int, client_port: int = 40000) -> None:
    """A connection on which this is said, closed in order."""
    connection = opened(writer, 4, client_port, port)
    for side, data in said:
        say(connection, side, data)
    connection.fin(CLIENT)
    connection.fin(SERVER)


def post(writer: DumpWriter, said: Iterable[Said], port: int, client_port: int = 40000) -> None:
    """Datagrams to and fro."""
    server, client = (process.addresses[0].packed for process in RUN.processes)
    batch = writer.datagrams()
    for side, data in said:
        there = (server, port, client, client_port) if side else (client, client_port, server, port)
        batch.put(udp.emit_packet(*there, data))
        batch.commit()


def every_protocol(path: Path) -> Path:
    """Four conversations, one of them of datagrams."""
    with writing(path) as writer:
        talk(writer, HTTP, 80)
        talk(writer, REDIS, 6379)
        talk(writer, POSTGRES, 5432)
        post(writer, DNS, 53)
    return path


def many_chunks(path: Path, chunks: int, connections: int = 1000) -> Path:
    """Requests and answers, a chunk each, taking turns on as many connections."""
    with writing(path) as writer:
        lines = [opened(writer, 4, 20000 + number, 6379) for number in range(connections)]
        for number in range(chunks // 2):
            line = lines[number * 7919 % connections]
            say(line, CLIENT, b"*2\r\n$3\r\nGET\r\n$9\r\nkey%06d\r\n" % number)
            say(line, SERVER, b"$100\r\n%0100d\r\n" % number)
        for line in lines:
            line.fin(CLIENT)
            line.fin(SERVER)
    return path


def content_of(path: Path, **room: int) -> Content:
    with open_recording(path) as recording:
        return read_content(recording, Room(**room), lambda done, size: None)
