"""What else there is to a replay as a run: other subnets, torn dumps, bad inputs, sweep, report, its end."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from journey import replays
from journey.ordinary import as_nobody
from journey.programs import SERVER, http_server, redis_script
from journey.replays import Mode, Program, assert_as_recorded, record_program, replay, replay_command
from journey.runs import Place, plg, python, record_command, run, running

from needs import needs_program, needs_tun

PORT = 7400
USAGE, CANNOT = 2, 125


def dialogue() -> Program:
    return Program(python("talk.py", "echo", PORT), python("clients.py", "dialogue", SERVER, PORT), PORT)


# -- another subnet


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_another_subnet_and_other_ports(place: Place, mode: Mode) -> None:
    """HTTP's Host line has the address in it; and the client calls from ports of its kernel's choice."""
    needs_tun()
    needs_program("curl")
    ask = 'curl -sS "http://$PLG_ADDR_SERVER:8080/f0" | cksum; curl -sS "http://$PLG_ADDR_SERVER:8080/none"'
    program = Program(http_server(place, 1, 5000), ask, 8080)
    recorded = record_program(place, program)
    words = [*program.run_options(), "-s", "192.168.77.0/24", "--ignore", r"\r\nDate: [^\r\n]*"]
    replayed = replay(place, *program.commands(mode), options=words)
    assert_as_recorded(replayed)
    if mode.has_client:
        assert replayed.ended.stdout == recorded.stdout, replayed


# -- dumps that are none, or not whole


def cut(dump: bytes) -> bytes:
    return dump[: len(dump) // 2]


def flip(dump: bytes) -> bytes:
    at = dump.index(b"connection 1, request 1")
    return dump[:at] + bytes([dump[at] ^ 4]) + dump[at + 1 :]


def other_version(dump: bytes) -> bytes:
    """The comment of the first block names the format's version."""
    found = re.search(rb"net playground dump, format (\d)", dump)
    assert found is not None, dump[:200]
    return dump[: found.start(1)] + b"9" + dump[found.end(1) :]


def foreign(_dump: bytes) -> bytes:
    """A section header and an interface, as any capture has them."""
    section = bytes.fromhex("0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000".replace(" ", ""))
    return section + bytes.fromhex("01000000 14000000 0100 0000 00000400 14000000".replace(" ", ""))


@pytest.mark.parametrize(
    "spoil",
    [flip, other_version, cut, lambda _: b"", lambda _: b"no dump at all\n" * 100],
    ids=["a bit flipped", "of another version", "truncated", "empty", "text"],
)
def test_what_is_no_whole_dump_is_one_line(place: Place, spoil: Callable[[bytes], bytes]) -> None:
    needs_tun()
    record_program(place, dialogue())
    place.dump.write_bytes(spoil(place.dump.read_bytes()))
    ended = run(place, replay_command(place.dump, [f"client: {dialogue().client}"]))
    assert ended.status == CANNOT, ended
    told = [line for line in ended.stderr.splitlines() if not line.startswith("plg: room for")]
    assert len(told) == 1 and str(place.dump) in told[0], ended


def test_a_capture_without_processes_has_nobody_to_play_to(place: Place) -> None:
    place.dump.write_bytes(foreign(b""))
    ended = run(place, replay_command(place.dump, ["client: true"]))
    assert ended.status in (USAGE, CANNOT), ended
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (["true"], "2 processes (server, client)"),
        (["nobody: true"], "no such process in the recording, there is server, client"),
        (["-", "-"], "all are canned"),
    ],
)
def test_commands_that_do_not_fit_the_recording(place: Place, commands: list[str], words: str) -> None:
    needs_tun()
    record_program(place, dialogue())
    ended = run(place, replay_command(place.dump, commands))
    assert ended.status == USAGE, ended
    assert len(ended.stderr.splitlines()) == 1 and words in ended.stderr, ended


def test_a_torn_dump_replays_what_it_has(place: Place) -> None:
    """plg was killed in the middle of a dialogue: the client goes on, and that is no divergence."""
    needs_tun()
    slow = python("clients.py", "slow-dialogue", SERVER, PORT)
    echo = python("talk.py", "echo", PORT)
    command = record_command(place.dump, ("--ready", "server"), [f"server: {echo}", f"client: {slow}"])
    with running(place, command) as recording:
        end = time.monotonic() + 20
        while place.dump.stat().st_size < 3000 if place.dump.exists() else True:
            assert time.monotonic() < end, recording.ended(-1)
            time.sleep(0.01)
        recording.process.kill()
        recording.process.wait()
    replayed = replay(place, f"client: {slow}", options=("--stall", "2"))
    assert "the dump is torn" in replayed.ended.stderr, replayed
    assert replayed.report["missing"], replayed
    assert replayed.report["divergence_count"] == 0, replayed
    assert b"request 0" in replayed.ended.stdout.encode()
    assert replayed.ended.status == 0, replayed


# -- sweep and report


def test_sweep_plays_each_process_alone(place: Place) -> None:
    needs_tun()
    recorded = record_program(place, dialogue())
    report = place.path / "sweep.json"
    ended = run(place, plg("replay", "--sweep", "-f", str(place.dump), "--report", str(report)))
    assert ended.status == 0, ended
    assert ended.stdout == recorded.stdout
    rows = [re.split(r"\s{2,}", line.removeprefix("plg: ")) for line in ended.stderr.splitlines()[-3:]]
    assert rows == [
        ["process", "status", "matched", "verdict"],
        ["server", "0", "100 %", "as recorded"],
        ["client", "0", "100 %", "as recorded"],
    ]
    swept = json.loads(report.read_text())
    assert {name: turn["status"] for name, turn in swept.items()} == {"server": 0, "client": 0}
    assert swept["client"]["report"]["connections_matched"] == 2


def test_sweep_tells_who_diverges(place: Place) -> None:
    needs_tun()
    record_program(place, dialogue())
    changed = python("clients.py", "dialogue", SERVER, PORT, "changed")
    words = plg("replay", "--sweep", "--stall", "1", "-f", str(place.dump))
    ended = run(place, [*words, f"server: {dialogue().server}", f"client: {changed}"])
    assert ended.status == replays.DIVERGED, ended
    last = ended.stderr.splitlines()[-1]
    assert last.split()[:3] == ["plg:", "client", "3"] and "diverged at byte 41" in last, ended


def test_a_report_that_cannot_be_written(place: Place) -> None:
    needs_tun()
    record_program(place, dialogue())
    words = replay_command(place.dump, ["client: > ran"], ["--report", str(place.path / "none" / "report")])
    ended = run(place, words)
    assert ended.status == CANNOT, ended
    assert "Traceback" not in ended.stderr


# -- who replays, and what is left


def test_an_ordinary_user_replays(place: Place) -> None:
    needs_tun()
    before = as_nobody(place)
    program = redis_script(place)
    recorded = run(
        place,
        [*before, *record_command(place.dump, program.run_options(), program.commands())],
        deadline_s=60,
    )
    assert recorded.status == 0, recorded
    for mode in Mode:
        replayed = replays.replay_program(place, program, mode, before=before)
        assert_as_recorded(replayed)
        assert replayed.ended.stdout == (recorded.stdout if mode.has_client else ""), replayed


def test_a_killed_replay_leaves_nothing(place: Place) -> None:
    needs_tun()
    record_program(place, dialogue())
    client = f"client: {python('clients.py', 'dialogue', SERVER, PORT, 'silent')}"
    for commands in ([client], [f"server: {dialogue().server}", client]):
        heard = place.path / "heard"
        heard.unlink(missing_ok=True)
        commands[-1] = f"{client.replace('exec ', '')} > {heard}"
        with running(place, replay_command(place.dump, commands)) as killed:
            _wait_for(heard, killed.process.poll)
            killed.process.kill()
            killed.process.wait()


def _wait_for(path: Path, poll: Callable[[], int | None]) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
