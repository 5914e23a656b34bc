"""Journeys that come in two sizes: short ones in the tests, whole ones in `scripts/soak`.

Each function plays one of them in a place of its own and asserts what must hold whatever the size.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from journey.dumps import (
    assert_read_by_tcpdump,
    assert_unflagged,
    assert_whole,
    check_dump,
    chunks_of,
    sums_of,
)
from journey.runs import Place, Run, python, record, record_command, running
from journey.talk import sum_of_pattern

from needs import needs_program
from netplayground.dump.model import CLIENT, State
from netplayground.dump.reader import Dump, open_dump

PORT = 7000
SERVER = "10.0.0.1"
FOLLOWED = 1000  # so many connections tshark follows one by one in a bearable time
FIRST_EXAMPLE = (
    "redis-server --bind 0.0.0.0 --protected-mode no",
    "redis-cli -h 10.0.0.1 ping",
)
UNTIL_CLIENT = ("--ready", "p1", "--until", "p2")


def first_example(place: Place, times: int, *, before: Sequence[str] = ()) -> None:
    """The example with which design and README begin, again and again."""
    needs_program("redis-server", "redis-cli")
    for number in range(times):
        ended = record(place, *FIRST_EXAMPLE, options=UNTIL_CLIENT, before=before)
        assert ended.status == 0, f"time {number + 1}: {ended}"
        assert "PONG" in ended.stdout, f"time {number + 1}: {ended}"
        with open_dump(place.dump) as dump:
            assert len(dump.connections) == 1, f"time {number + 1}"
            heard = b"".join(payload for side, payload in chunks_of(dump, 0) if side != CLIENT)
            assert heard.endswith(b"+PONG\r\n"), f"time {number + 1}: {heard!r}"
        if number == 0:
            check_dump(place, connections=1)


def one_way(place: Place, count: int) -> None:
    """`count` bytes from the client to the server in one connection: all of them, and in the dump."""
    ended = record(
        place,
        python("talk.py", "sink", PORT),
        python("talk.py", "pour", SERVER, PORT, count),
        options=("--ready", "p1"),
        deadline_s=30 + count / 20e6,
    )
    assert ended.status == 0, ended
    length, crc = sum_of_pattern(count)
    assert json.loads(ended.stdout) == {"bytes": length, "crc": crc}
    assert sums_of(place.dump) == [(length, crc, 0, 0)]
    assert_unflagged(place.dump)
    assert_read_by_tcpdump(place.dump)
    assert_whole(place, place.dump)


def one_after_another(place: Place, count: int, closer: str) -> None:
    """Connections opened and closed one after another, `closer` (client or server) closing first."""
    ended = record(
        place,
        python("talk.py", "serve-each", PORT, count, closer),
        python("talk.py", "call-each", SERVER, PORT, count, closer),
        options=("--ready", "p1"),
        deadline_s=30 + count / 100,
    )
    assert ended.status == 0, ended
    _check_many(place, count)


def at_once(place: Place, count: int) -> None:
    """Connections that all stand at the same time."""
    ended = record(
        place,
        python("talk.py", "serve-all", PORT, count),
        python("talk.py", "call-all", SERVER, PORT, count),
        options=("--ready", "p1"),
        deadline_s=60,
    )
    assert ended.status == 0, ended
    _check_many(place, count)


def _check_many(place: Place, count: int) -> None:
    if count <= FOLLOWED:
        check_dump(place, connections=count)
        return
    assert len(sums_of(place.dump)) == count
    assert_unflagged(place.dump)
    assert_read_by_tcpdump(place.dump)
    assert_whole(place, place.dump)


def load(place: Place, seconds: float) -> None:
    """Bulk, small chunks and short connections at once; plg's memory and descriptors do not grow."""
    command = record_command(
        place.dump,
        UNTIL_CLIENT,
        [python("talk.py", "echo", PORT), python("talk.py", "mix", SERVER, PORT, int(seconds))],
    )
    with running(place, command) as run:
        usage = _watch(run, seconds + 60)
        ended = run.wait(30)
    assert ended.status == 0, ended
    settled, last = usage[len(usage) // 3], usage[-1]
    assert last[0] < settled[0] * 1.25 + 8192, f"resident KiB and descriptors over time: {usage}"
    assert last[1] <= max(descriptors for _, descriptors in usage[: len(usage) // 3 + 1]) + 32, usage
    assert len(sums_of(place.dump)) == json.loads(ended.stdout)["connections"]
    assert_unflagged(place.dump)
    assert_whole(place, place.dump)


def _watch(run: Run, deadline_s: float) -> list[tuple[int, int]]:
    """Resident KiB and open descriptors of plg, several times until it ends."""
    usage = []
    end = time.monotonic() + deadline_s
    folder = Path(f"/proc/{run.process.pid}")
    while run.process.poll() is None and time.monotonic() < end:
        try:
            status = (folder / "status").read_text()
            resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
            usage.append((int(resident), len(list((folder / "fd").iterdir()))))
        except (OSError, StopIteration):  # it ended just now; a zombie has neither
            break
        time.sleep(0.2)
    # The last samples may fall into the wind-down.
    return usage[:-2]


def killed_under_load(place: Place, times: int, dice: random.Random) -> None:
    """`kill -9` of plg at a random moment: nothing is left, and the dump has all that anyone had heard."""
    for number in range(times):
        folder = place.folder(f"kept{number}")
        delay = dice.uniform(0.0, 0.8)
        command = record_command(
            place.dump,
            ("--ready", "p1"),
            [
                python("talk.py", "keep-server", PORT, folder),
                python("talk.py", "keep-client", SERVER, PORT, folder),
            ],
        )
        with running(place, command) as run:
            _wait_for(folder / "begun", run)
            time.sleep(delay)
            run.process.kill()
            run.process.wait()
        try:
            heard = _assert_has_all_that_was_heard(place.dump, folder)
        except AssertionError as error:
            raise AssertionError(f"kill {number + 1}, {delay:.3f} s into the load: {error}") from error
        assert heard > 0 or delay < 0.2, f"kill {number + 1}: nobody heard anything in {delay:.3f} s"
        shutil.rmtree(folder)


def _wait_for(path: Path, run: Run, deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not path.exists():
        assert run.process.poll() is None, run.ended(run.process.returncode)
        assert time.monotonic() < end, f"no {path.name}: {run.ended(-1)}"
        time.sleep(0.01)


def _assert_has_all_that_was_heard(path: Path, folder: Path) -> int:
    """Hold each receiver's file to the dump; return how many bytes were heard."""
    heard = 0
    with open_dump(path) as dump:
        assert dump.state is State.TORN
        by_port = {connection.client.port: connection.id for connection in dump.connections}
        for file in sorted(folder.iterdir()):
            role, _, port = file.name.partition("-")
            if port and file.stat().st_size:
                assert int(port) in by_port, f"{file.name}: its connection is not in the dump"
                heard += _assert_begins(dump, by_port[int(port)], role, file)
    return heard


def _assert_begins(dump: Dump, connection_id: int, receiver: str, file: Path) -> int:
    """What the dump has of this direction begins with the file; compared chunk by chunk."""
    size = file.stat().st_size
    done = 0
    with file.open("rb") as content:
        for side, payload in chunks_of(dump, connection_id):
            if (side == CLIENT) == (receiver == "server") and done < size:
                part = content.read(len(payload))
                assert payload[: len(part)] == part, f"{file.name}: other bytes in the dump after {done}"
                done += len(part)
    assert done == size, f"{file.name}: {size} bytes were heard, only {done} are in the dump"
    return size
