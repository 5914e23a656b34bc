"""Every way in which a connection can begin, go on and end: the programs meet the same as without plg."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journey.dumps import check_dump
from journey.runs import Place, python, record, record_command, running

from needs import needs_tun
from netplayground.dump.model import Ending, EventKind
from netplayground.dump.reader import open_dump

SCENES = Path(__file__).with_name("scenes.py")
PORT = 7007


@pytest.mark.parametrize(
    ("scene", "endings"),
    [
        ("abort_by_client", [Ending.RESET_BY_CLIENT]),
        ("abort_by_server", [Ending.RESET_BY_SERVER]),
        ("abort_by_unread_bytes", [Ending.RESET_BY_SERVER]),
        ("half_close_by_client", [Ending.CLOSED]),
        ("half_close_by_server", [Ending.CLOSED]),
        ("server_first", [Ending.CLOSED]),
        ("urgent", [Ending.CLOSED]),
        ("killed", [Ending.CLOSED]),
        ("refused", [Ending.REFUSED]),
        ("three_at_once", [Ending.CLOSED] * 3),
        ("one_shot", [Ending.CLOSED, Ending.RESET_BY_SERVER, Ending.RESET_BY_SERVER]),
        ("port_of_both", [Ending.CLOSED] * 2),
    ],
)
def test_programs_meet_the_same_as_outside(place: Place, scene: str, endings: list[Ending]) -> None:
    needs_tun()
    server = python("scenes.py", scene, "server", PORT)
    client = f'{python("scenes.py", scene, "client").removeprefix("exec ")} "$PLG_ADDR_SERVER" {PORT}'
    ended = record(place, f"server: {server}", f"client: {client}")
    assert _said(ended.stdout) == _outside(scene), ended
    check_dump(place)
    with open_dump(place.dump) as dump:
        # A client that came before its server listened was refused, and asked again.
        found = [
            connection.ending for connection in dump.connections if connection.ending is not Ending.REFUSED
        ]
        assert sorted(found, key=str) == sorted(endings, key=str) or endings == [Ending.REFUSED]


def test_an_address_that_nobody_has_is_unreachable_at_once(place: Place) -> None:
    needs_tun()
    script = (
        "import errno, socket, time; begin = time.monotonic(); error = socket.socket().connect_ex"
        "(('10.0.0.99', 80)); print(errno.errorcode[error], time.monotonic() - begin < 1)"
    )
    ended = record(place, f"{sys.executable} -c {shlex.quote(script)}")
    assert ended.stdout == "EHOSTUNREACH True\n", ended
    check_dump(place, connections=1)


def test_a_client_that_gives_up_leaves_no_connection_at_the_server(place: Place) -> None:
    needs_tun()
    server = python("scenes.py", "no_phantom", "server", PORT)
    client = f'{python("scenes.py", "no_phantom", "client").removeprefix("exec ")} "$PLG_ADDR_SERVER" {PORT}'
    ended = record(place, f"server: {server}", f"client: {client}", options=["--ready", "server"])
    said = _said(ended.stdout)
    assert said["client"] == {"third": "gave up", "after": 1.6}, ended
    assert said["server"] == {"heard": [1, 2]}, ended
    with open_dump(place.dump) as dump:
        assert [connection.ending for connection in dump.connections] == [
            Ending.CLOSED,
            Ending.CLOSED,
            Ending.UNANSWERED,
        ]


def test_a_peer_that_stops_reading_stops_the_sender_and_plg_keeps_nothing(place: Place) -> None:
    needs_tun()
    server = python("scenes.py", "stalled", "server", PORT)
    client = f'{python("scenes.py", "stalled", "client").removeprefix("exec ")} "$PLG_ADDR_SERVER" {PORT}'
    command = record_command(place.dump, ["--ready", "server"], [f"server: {server}", f"client: {client}"])
    with running(place, command) as run:
        resident = []
        while run.process.poll() is None:
            resident.append(_resident_kib(run.process.pid))
            time.sleep(0.05)
        ended = run.wait(30)
    assert _said(ended.stdout) == _outside("stalled"), ended
    # 62 MiB went through, and stood still for two seconds.
    flat = [size for size in resident if size]
    assert max(flat) - flat[len(flat) // 4] < 4096, flat


def test_an_urgent_byte_is_noted(place: Place) -> None:
    needs_tun()
    server = python("scenes.py", "urgent", "server", PORT)
    client = f'{python("scenes.py", "urgent", "client").removeprefix("exec ")} "$PLG_ADDR_SERVER" {PORT}'
    record(place, f"server: {server}", f"client: {client}", options=["--ready", "server"])
    with open_dump(place.dump) as dump:
        assert "urgent-byte" in {fact.kind for fact in dump.facts()}
        [connection] = dump.connections
        said = sum(e.length for e in dump.events(connection.id) if e.kind is EventKind.CHUNK)
        assert said == 200 * 65_536 + 4


def _said(stdout: str) -> dict[str, object]:
    """What both programs said, one JSON object a line."""
    said: dict[str, object] = {}
    for line in stdout.splitlines():
        said.update(json.loads(line))
    return said


def _outside(scene: str) -> dict[str, object]:
    """The same two programs over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    roles = (["server", port], ["client", "127.0.0.1", port])
    programs = [
        subprocess.Popen([sys.executable, str(SCENES), scene, *role], stdout=subprocess.PIPE, text=True)
        for role in roles
    ]
    return _said("".join(program.communicate(timeout=30)[0] for program in programs))


def _resident_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) if lines else 0
