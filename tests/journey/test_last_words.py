"""What a process says just before it ends is told before its end, and before that of the run.

A dump that had it after its end would not play it, and two runs of the same programs would not be the same.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from journey.runs import Place, record_command, running

import netplayground
from needs import needs_tun

CONNECTIONS = 20

LISTENER = f"""
import socket, time
with socket.create_server(("", 7000), backlog={CONNECTIONS}) as server:
    heard = [server.accept()[0] for _ in range({CONNECTIONS})]
    for each in heard: each.send(b"x")
    time.sleep(60)
"""
SPEAKER = f"""
import os, socket
talks = [socket.create_connection(("server", 7000)) for _ in range({CONNECTIONS})]
for each in talks: each.recv(1)
life = open("life", "wb")
open("word", "rb").read()
for each in talks: each.send(b"bye")
os._exit(0)
"""


def test_what_a_process_said_last_is_told_before_its_end(place: Place) -> None:
    """plg stands still until the process is gone, and so hears of both at once."""
    needs_tun()
    os.mkfifo(place.path / "life")
    os.mkfifo(place.path / "word")
    server = f"server: exec python3 {place.file('listener.py', LISTENER)}"
    script = place.file("speaker.py", SPEAKER)
    client = f"client: exec python3 {script}"
    words = record_command(place.dump, ["--ready", "server", "--until", "client"], [server, client])
    with running(place, words) as run, (place.path / "life").open("rb") as life:
        speaker = _process_of(script)
        with (place.path / "word").open("wb"):
            run.process.send_signal(signal.SIGSTOP)
        assert life.read() == b""  # until it is dead
        while speaker.exists():  # until its PID 1 knows
            time.sleep(0.001)
        run.process.send_signal(signal.SIGCONT)
        ended = run.wait(30)
    assert ended.status == 0, ended
    with netplayground.open_dump(place.dump) as dump:
        spoken = [chunk for chunk in dump.chunks() if chunk.side == "client"]
        facts = [fact for fact in dump.facts() if fact.kind == "process-ended"]
    assert b"".join(chunk.data for chunk in spoken) == b"bye" * CONNECTIONS
    assert facts[0].fields["process"] == "client"
    assert max(chunk.time_ns for chunk in spoken) < facts[0].time_ns


def _process_of(script: Path) -> Path:
    """The folder in /proc of the one process that runs it by itself."""
    line = f"\0{script}\0".encode()
    (found,) = (each for each in Path("/proc").glob("[0-9]*") if _command_line(each).endswith(line))
    return found


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""
