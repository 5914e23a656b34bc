"""A program that leads a playground, for the tests to kill or to run as somebody else."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import netplayground

UPPER = {"up": f"exec {sys.executable} {Path(__file__).with_name('peers.py')} upper 7000"}


def ask() -> bytes:
    with socket.create_connection(("up", 7000)) as connection:
        connection.sendall(b"hello\n")
        return connection.recv(100)


def main(how: str, dump: str) -> None:
    if how == "record":
        print("ready", flush=True)
        netplayground.record(dump, ["sleep 1000", "sleep 1000"])
        return
    playground = netplayground.Playground(UPPER, record=dump)
    playground.__enter__()
    playground.start("up", listening=True)
    with playground.inside():
        assert ask() == b"HELLO\n"
    if how == "killed-with-a-fork" and os.fork() == 0:
        time.sleep(3)  # it holds all that its parent had
        os._exit(0)
    print("ready", flush=True)
    if how == "killed-in-a-call":
        playground.call(time.sleep, 1000)
    elif how == "killed-in-a-command":
        playground.run("sleep 1000 & sleep 1000")
    elif how.startswith("killed"):
        time.sleep(1000)
    elif how == "ended":
        playground.__exit__(None, None, None)
    elif how == "all":
        assert playground.call(ask) == b"HELLO\n"
        assert playground.run("cat /proc/net/tcp > /dev/null; hostname").stdout == "test\n"
        assert playground.stop("up").signal == 15
        playground.__exit__(None, None, None)
        with netplayground.Playground(UPPER, replay=dump) as again, again.inside():
            assert ask() == b"HELLO\n"
            assert again.call(ask) == b"HELLO\n"
        print("all is well")


main(*sys.argv[1:])
