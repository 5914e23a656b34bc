"""When things happen in a replay: recorded time, faster, and while somebody is stopped or not up yet."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path

from journey import leftovers, replays
from journey.replays import Mode, Program, assert_as_recorded, record_program, replay
from journey.runs import Place, python, record, running

from needs import needs_tun

SERVER = "10.0.0.1"
PORT = 7300


def test_the_last_chunk_comes_at_its_time(place: Place) -> None:
    needs_tun()
    replays.assert_on_time(place, 3)


def ticking(seconds: float) -> Program:
    server, client = python("clients.py", "tick", PORT, seconds), python("clients.py", "listen", SERVER, PORT)
    return Program(server, client, PORT, says_figures=True)


def test_speed_divides_the_time_and_max_and_flood_do_without(place: Place) -> None:
    needs_tun()
    program = ticking(3)
    recorded = record_program(place, program)
    for words in (["--speed", "4"], ["--speed", "max"], ["--flood"]):
        replayed = replay(place, *program.commands(Mode.SERVER_CANNED), options=words)
        assert_as_recorded(replayed)
        assert replayed.report["duration_s"] < recorded.seconds - 1.5, replayed


def test_a_client_that_asks_until_its_server_is_up(place: Place) -> None:
    """However often it was refused: no divergence."""
    needs_tun()
    echo = python("talk.py", "echo", PORT).removeprefix("exec ")
    script = (
        "import socket, sys, time\n"
        "pause = float(sys.argv[1])\n"
        "sock = socket.socket()\n"
        f"while sock.connect_ex(({SERVER!r}, {PORT})):\n"
        "    sock.close(); time.sleep(pause); sock = socket.socket()\n"
        "sock.sendall(b'here I am'); print(sock.recv(9, socket.MSG_WAITALL))"
    )
    client = f"client: exec {sys.executable} -c {shlex.quote(script)}"
    program = Program(f"sleep 0.7; exec {echo}", f"{client.removeprefix('client: ')} 0.05", PORT)
    recorded = record(place, *program.commands(), options=("--until", "client"))
    assert recorded.status == 0, recorded
    for pause in (0.02, 0.2):
        replayed = replay(place, f"{client} {pause}")
        assert_as_recorded(replayed)
        assert replayed.ended.stdout == "b'here I am'\n", replayed
    replayed = replay(
        place, f"server: sleep 0.3; exec {echo}", f"{client} 0.02", options=("--until", "client")
    )
    assert_as_recorded(replayed)
    assert_as_recorded(replay(place, f"server: sleep 1.5; exec {echo}"))


def test_who_is_stopped_is_waited_for(place: Place) -> None:
    """As by a debugger, for longer than the stall time: no stall while it is stopped."""
    needs_tun()
    program = Program(python("talk.py", "echo", PORT), python("clients.py", "dialogue", SERVER, PORT), PORT)
    recorded = record_program(place, program)
    client = f"client: kill -STOP $$; {program.client}"
    with running(place, replays.replay_command(place.dump, [client], ("--stall", "1"))) as run:
        stopped = _stopped_below(run.process.pid)
        time.sleep(3.5)  # what is shown: that nothing happens in all this time
        assert run.process.poll() is None, run.ended(-1)
        os.kill(stopped, signal.SIGCONT)
        ended = run.wait(20)
    assert ended.status == 0, ended
    assert ended.stdout == recorded.stdout, ended


def _stopped_below(pid: int) -> int:
    """The process below plg that is stopped, once it is."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for child in leftovers.descendants(pid):
            if _state(child) == "T":
                return child
        time.sleep(0.02)
    raise AssertionError("nobody is stopped")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it ended meanwhile
        return ""
