"""The four ways from a client to a server: direct, socat that records, HAProxy, plg.

Each takes the same two shell command lines and runs them to the end of the client. A command line holds
`{server}`, the address under which this way reaches the server.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_parts.stage import Failed, Space, Stage

PORT = 5201
REPOSITORY = Path(__file__).resolve().parents[2]

# Direct, client and server are 10.0.0.2 and 10.0.0.1. With a forwarder between them the client (10.1.0.2)
# calls the forwarder (10.1.0.1), which calls the server (10.2.0.1) from 10.2.0.2.
SERVER_DIRECT = "10.0.0.1"
MIDDLE = "10.1.0.1"
SERVER_BEHIND = "10.2.0.1"

HAPROXY = f"""
global
    maxconn 2000
defaults
    mode tcp
    option splice-auto
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen forward
    bind :{PORT}
    server behind {SERVER_BEHIND}:{PORT}
"""


@dataclass(frozen=True)
class Exchange:
    """A server and a client, as shell command lines, and how long the client may take."""

    server: str
    client: str
    deadline_s: float


def play_direct(exchange: Exchange, place: Path) -> None:
    with Stage() as stage:
        client, server = stage.space(), stage.space()
        stage.join(client, "10.0.0.2/24", server, f"{SERVER_DIRECT}/24")
        _play(exchange, place, client, server, SERVER_DIRECT)


def play_socat(exchange: Exchange, place: Path) -> None:
    there, back = place / "there.raw", place / "back.raw"
    forward = ["socat", "-r", str(there), "-R", str(back)]
    forward += [f"TCP-LISTEN:{PORT},fork,reuseaddr,nodelay", f"TCP:{SERVER_BEHIND}:{PORT},nodelay"]
    try:
        _play_through(forward, exchange, place)
    finally:
        there.unlink(missing_ok=True)
        back.unlink(missing_ok=True)


def play_haproxy(exchange: Exchange, place: Path) -> None:
    config = place / "haproxy.cfg"
    config.write_text(HAPROXY)
    _play_through(["haproxy", "-f", str(config), "-db"], exchange, place)


def play_plg(exchange: Exchange, place: Path) -> None:
    dump = place / "bench.traffic"
    server, client = (line.format(server=SERVER_DIRECT) for line in (exchange.server, exchange.client))
    command = [*plg("--record", "-f", str(dump), "--ready", f"p1:{PORT}", "--until", "p2"), server, client]
    try:
        with running_plg(command, place) as run:
            _await(run, exchange, place)
    finally:
        dump.unlink(missing_ok=True)


def plg(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "netplayground", *arguments]


def plg_environment() -> dict[str, str]:
    """The tree that holds this script is the one that is measured; compiled once, as what is installed is."""
    search = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(search)}


@contextmanager
def running_plg(command: list[str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (place / "log").open("ab") as log:
        run = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=plg_environment()
        )
    try:
        yield run
    finally:
        _end(run, run.send_signal)


def _play_through(forward: list[str], exchange: Exchange, place: Path) -> None:
    with Stage() as stage:
        client, middle, server = stage.space(), stage.space(), stage.space()
        stage.join(client, "10.1.0.2/24", middle, f"{MIDDLE}/24")
        stage.join(middle, "10.2.0.2/24", server, f"{SERVER_BEHIND}/24")
        with _running(middle, forward, place) as forwarder:
            middle.wait_for_listener(PORT, forwarder, place / "log")
            _play(exchange, place, client, server, MIDDLE)


def _play(exchange: Exchange, place: Path, client: Space, server: Space, address: str) -> None:
    serve, call = (["sh", "-c", line.format(server=address)] for line in (exchange.server, exchange.client))
    with _running(server, serve, place) as listener:
        server.wait_for_listener(PORT, listener, place / "log")
        with _running(client, call, place) as run:
            _await(run, exchange, place)


@contextmanager
def _running(space: Space, command: list[str], place: Path) -> Iterator[subprocess.Popen[bytes]]:
    run = space.popen(command, place / "log")
    try:
        yield run
    finally:
        # The whole session that popen() made: socat has a child a connection, a shell its command.
        _end(run, lambda number: os.killpg(run.pid, number))


def _end(run: subprocess.Popen[bytes], send: Callable[[int], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            send(number)
            run.wait(timeout=10)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    run.wait()


def _await(run: subprocess.Popen[bytes], exchange: Exchange, place: Path) -> None:
    try:
        status = run.wait(timeout=exchange.deadline_s)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"cannot finish {exchange.client!r}: no end after {exchange.deadline_s:g} s") from error
    if status != 0:
        said = (place / "log").read_text(errors="replace")[-2000:]
        raise Failed(f"cannot run {exchange.client!r}: status {status}\n{said}")


def peers(*arguments: str) -> str:
    """A command line that runs one part of peers.py with the interpreter of the bench."""
    script = Path(__file__).with_name("peers.py")
    return " ".join(["exec", shlex.quote(sys.executable), shlex.quote(str(script)), *arguments])


WAYS: dict[str, Callable[[Exchange, Path], None]] = {
    "direct": play_direct,
    "socat": play_socat,
    "haproxy": play_haproxy,
    "plg": play_plg,
}
