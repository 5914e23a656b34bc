"""A capture of tcpdump is replayed as a recording is: with its server canned, and with its client canned.

The capture is made on the client's own device while the programs run; what is recorded beside it is not used.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from capture.frames import CLIENT as CLIENT4
from capture.frames import CLIENT6, SERVER6, Frame, Talk, pcap, write
from capture.frames import SERVER as SERVER4
from journey import posts, programs, replays
from journey.replays import Program
from journey.runs import Ended, Place, python, record_command, run, witnessed

from needs import needs_program, needs_tun
from netplayground.packet.tcp import ACK, RST, SYN

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


ECHO_PORT = 7


def captured_echoes(count: int) -> list[Frame]:
    """Conversations with an echo server in either family, many at a time, as they were captured."""
    frames: list[Frame] = []
    for number in range(count):
        ends = (CLIENT6, SERVER6) if number % 2 else (CLIENT4, SERVER4)
        played = Talk(2000 + number, ECHO_PORT, *ends, initial=(number << 20, number << 21))
        played.time_ns += number * 10_000
        played.open()
        for line in range(3):
            word = (b"line %d of %d" % (line, number)).ljust(60, b".") + b"\n"
            played.say(0, word).say(1, word)
        frames += played.close().frames
    return sorted(frames, key=lambda frame: frame.time_ns)


def replay_to_echo(place: Place, frames: list[Frame], *, snap: int = 65535) -> Ended:
    needs_tun()
    capture = write(place.path / "capture.pcap", pcap(frames, snap=snap))
    names = ["--name", f"{SERVER4}=server", "--name", f"{SERVER6}=server"]
    options = [*names, "--report", str(place.path / "report.json")]
    return run(
        place, replays.replay_command(capture, [f"server: {python('talk.py', 'echo', ECHO_PORT)}"], options)
    )


def test_many_captured_clients_of_both_families_at_a_live_server(place: Place) -> None:
    ended = replay_to_echo(place, captured_echoes(300))
    assert ended.status == 0 and "100 % of 300 connections" in ended.stderr, ended


def test_what_was_not_captured_whole_is_left_out_and_listed_and_the_share_is_said(place: Place) -> None:
    frames = captured_echoes(40)
    # The middle of it, and of that a packet with data is missing.
    frames = frames[100:-60]
    lost = next(at for at, frame in enumerate(frames) if b"line 1" in frame.packet)
    del frames[lost]
    ended = replay_to_echo(place, frames)
    found = json.loads((place.path / "report.json").read_text())
    assert ended.status == 0, ended
    assert found["connections_matched"] == found["connections"] >= 10
    assert len(found["left_out"]) >= 10
    assert {each["why"] for each in found["left_out"]} == {
        "its beginning was not captured",
        "bytes of it were not captured",
    }
    assert f"left out: {len(found['left_out'])} connections" in ended.stderr


def test_a_capture_of_which_nothing_is_whole_is_no_success(place: Place) -> None:
    """A snap length leaves the headers, and no conversation."""
    ended = replay_to_echo(place, captured_echoes(10), snap=66)
    assert ended.status == 125, ended
    said = "of the 10 connections of server none is whole: bytes of it were not captured"
    assert said in ended.stderr, ended


def test_a_refused_connection_is_nothing_that_could_be_played(place: Place) -> None:
    refused = Talk(1999, ECHO_PORT)
    refused.send(0, SYN)
    refused.send(1, RST | ACK)
    ended = replay_to_echo(place, [*refused.frames, *captured_echoes(10)], snap=66)
    assert ended.status == 125 and "of the 10 connections of server none is whole" in ended.stderr, ended


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


@pytest.mark.parametrize("family", [4, 6])
def test_captured_datagrams_replay_against_a_live_client_and_against_a_live_server(
    place: Place, family: int
) -> None:
    """dig takes one answer over TCP, too. The witness's marker is a datagram to the server's port 9."""
    needs_program("tcpdump")
    program = posts.resolver(place, family)
    capture, whole = place.path / "capture.pcap", place.path / "whole.pcap"
    commands = [f"server: {program.server}", f"client: {witnessed(whole, SERVER, program.client)}"]
    recorded = run(place, record_command(place.dump, program.run_options(), commands), deadline_s=60)
    assert recorded.status == 0, recorded
    subprocess.run(["tcpdump", "-nr", str(whole), "-w", str(capture), "port", "5353"], check=True)

    for address, command in ((CLIENT, program.client), (SERVER, program.server)):
        words = [f"{_of_family(address, family)}: {command}"]
        report = place.path / "report.json"
        options = ["--report", str(report)]
        ended = run(place, replays.replay_command(capture, words, options), deadline_s=60)
        assert ended.status == 0, ended
        found = json.loads(report.read_text())
        assert found["datagrams"] == found["datagrams_matched"] == 3, found
        if command == program.client:
            assert ended.stdout == recorded.stdout


def _of_family(address: str, family: int) -> str:
    return address if family == 4 else f"fd00:706c:67::{address[-1]}"
