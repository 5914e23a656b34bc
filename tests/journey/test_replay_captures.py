"""A capture of tcpdump is replayed as a recording is: with its server canned, and with its client canned.

The capture is made on the client's own device while the programs run; what is recorded beside it is not used.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from journey import programs, replays
from journey.replays import Program
from journey.runs import Ended, Place, record_command, run, witnessed

from needs import needs_program

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
AS_POSTGRES = "exec setpriv --reuid=postgres --regid=postgres --init-groups -- sh -c"


def psql(place: Place) -> Program:
    """With a client that is root, as its witness has to be."""
    program = programs.psql(place)
    return replace(program, server=f'{AS_POSTGRES} "{program.server}"', options=())


PROGRAMS = {"redis": programs.redis_script, "http": programs.curls, "postgresql": psql}


def replay_capture(place: Place, capture: Path, program: Program, command: str) -> Ended:
    """Replay a capture to one process, which its address names; all of it must be as captured."""
    program.refresh()
    report = place.path / "report.json"
    # The witness's last word is a datagram that no program says.
    options = ["--udp", "off", "--report", str(report)]
    ended = run(
        place,
        replays.replay_command(capture, [command], options, program.ignore),
        deadline_s=program.deadline_s,
    )
    assert ended.status == 0, ended
    found = json.loads(report.read_text())
    assert (found["connections_matched"], found["bytes_matched"]) == (found["connections"], found["bytes"])
    assert found["connections"] and not found["left_out"]
    return ended


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_capture_replays_against_a_live_client_and_against_a_live_server(place: Place, name: str) -> None:
    needs_program("tcpdump")
    program = PROGRAMS[name](place)
    capture = place.path / "capture.pcap"
    commands = [f"server: {program.server}", f"client: {witnessed(capture, SERVER, program.client)}"]
    program.refresh()
    recorded = run(place, record_command(place.dump, program.run_options(), commands), deadline_s=60)
    assert recorded.status == 0, recorded

    live = replay_capture(place, capture, program, f"{CLIENT}: {program.client}")
    assert live.stdout == recorded.stdout
    replay_capture(place, capture, program, f"{SERVER}: {program.server}")
