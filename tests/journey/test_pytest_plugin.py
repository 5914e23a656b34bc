"""The pytest plugin, as users have it: pytest runs in a process of its own on a suite in a folder."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from journey import leftovers
from journey.ordinary import as_nobody
from journey.runs import Ended, Place, python, run, running

import netplayground
from needs import needs_program, needs_tun

SHOP = Path(__file__).with_name("shop")
UPPER = f"up: {python('peers.py', 'upper', 7000)}"
SUITE = f"""
import os, socket
import pytest

WORDS = os.environ.get("WORDS", "hello").encode()

def ask(words=WORDS):
    with socket.create_connection(("up", 7000), timeout=10) as connection:
        connection.sendall(words + b"\\n")
        return connection.recv(1000)

@pytest.mark.plg({UPPER!r}, ready="up")
def test_it(playground):
    assert ask() == WORDS.upper() + b"\\n"
"""


@pytest.fixture(autouse=True)
def nothing_is_left(place: Place) -> Iterator[None]:
    needs_tun()
    leftovers.adopt_orphans()
    before = leftovers.look(place.temporary)
    yield
    left = leftovers.left_since(before, place.temporary, 1.0)
    assert not left, f"left behind: {left}"


PYTEST = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "--strict-markers",
    "--basetemp=pytest",
]


def pytest_command(*words: str) -> list[str]:
    """With all plugins; ours also where it is not installed, but found on the path."""
    found = importlib.metadata.entry_points(group="pytest11")
    loaded = any(point.value == "netplayground.pytest_plugin" for point in found)
    return [*PYTEST, *([] if loaded else ["-p", "netplayground.pytest_plugin"]), *words]


def lean_command(*words: str) -> list[str]:
    """With no plugin that is not needed: they take longer than the tests."""
    xdist = ["-p", "xdist.plugin"] if "-n" in words else []
    environment = ["env", "CI=", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]
    return [*environment, *PYTEST, "-p", "netplayground.pytest_plugin", *xdist, *words]


def test_run(place: Place, *words: str, suite: str = SUITE, say: str = "hello", ci: str = "") -> Ended:
    place.file("test_it.py", suite)
    environment, *command = lean_command(*words)
    return run(place, [environment, f"WORDS={say}", command[0] + ci, *command[1:]], deadline_s=100)


test_run.__test__ = False  # type: ignore[attr-defined]


def dump_of(place: Place, test: str = "test_it") -> Path:
    return place.path / "dumps" / "test_it" / f"{test}.traffic"


def counts(ended: Ended) -> dict[str, int]:
    line = ended.stdout.rstrip().rpartition("\n")[2]
    return {
        what.rstrip("s"): int(number)
        for number, what in re.findall(r"(\d+) (\w+)", line.partition(" in ")[0])
    }


def test_a_test_is_recorded_once_and_replayed_from_then_on(place: Place) -> None:
    assert counts(test_run(place)) == {"passed": 1}
    with netplayground.open_dump(dump_of(place)) as dump:
        assert dump.is_complete
        assert [each.received for each in dump.conversations("test", "up")] == [b"HELLO\n"]
    recorded = dump_of(place).read_bytes()
    assert [path.name for path in dump_of(place).parent.iterdir()] == ["test_it.traffic"]
    # Nobody runs in the replay: the command is not even there any more.
    gone = SUITE.replace(UPPER.partition(": ")[2], "no-such-program")
    again = test_run(place, "--plg-record=none", suite=gone)
    assert counts(again) == {"passed": 1}, again
    assert dump_of(place).read_bytes() == recorded


def test_a_divergence_fails_the_test_and_is_shown(place: Place) -> None:
    test_run(place)
    ended = test_run(place, say="help!")
    assert counts(ended) == {"failed": 1} and ended.status == 1
    assert "test, connection 0 test -> up:7000, byte 3: said other bytes than recorded" in ended.stdout
    assert re.search(r"> +0 +68 65 6c 6c 6f 0a +hello\. +68 65 6c 70 21 0a +help!\.", ended.stdout), ended
    # A test that passes by itself fails all the same, and one that fails shows its own failure first.
    quiet = SUITE.replace("assert ask() ==", "ask();")
    ended = test_run(place, suite=quiet, say="help!")
    assert counts(ended) == {"failed": 1} and "assert" not in ended.stdout.partition("short test summary")[0]


def test_what_was_not_said_any_more_fails_the_test(place: Place) -> None:
    test_run(place)
    ended = test_run(place, suite=SUITE.replace("assert ask()", "return; assert ask()"))
    assert counts(ended) == {"failed": 1}
    assert "never opened it" in ended.stdout


def test_a_test_that_fails_leaves_no_dump_and_shows_what_processes_said(place: Place) -> None:
    failing = SUITE.replace("assert ask() ==", "assert ask() and b'' ==")
    failing = failing.replace('"up: ', '"up: echo I am up; ').replace("'up: ", "'up: echo I am up; ")
    ended = test_run(place, suite=failing)
    assert counts(ended) == {"failed": 1}
    assert "Captured stdout of up call" in ended.stdout and "I am up" in ended.stdout
    assert not (place.path / "dumps").exists()
    test_run(place)
    recorded = dump_of(place).read_bytes()
    assert counts(test_run(place, "--plg-record=all", suite=failing)) == {"failed": 1}
    assert dump_of(place).read_bytes() == recorded
    assert counts(test_run(place, "--plg-record=all", say="other")) == {"passed": 1}
    assert dump_of(place).read_bytes() != recorded


def test_in_ci_nothing_is_recorded(place: Place) -> None:
    ended = test_run(place, ci="true")
    assert ended.status == 1 and counts(ended) == {"error": 1}
    assert f"cannot replay {dump_of(place)}: there is no such dump" in ended.stdout
    assert counts(test_run(place, "--plg-record=once", ci="true")) == {"passed": 1}
    assert counts(test_run(place, say="other", ci="true")) == {"failed": 1}


def test_new_records_where_the_commands_are_others(place: Place) -> None:
    test_run(place)
    recorded = dump_of(place).read_bytes()
    assert counts(test_run(place, "--plg-record=new")) == {"passed": 1}
    assert dump_of(place).read_bytes() == recorded
    other = SUITE.replace("'up: ", "'up: true; ").replace('"up: ', '"up: true; ')
    assert counts(test_run(place, "--plg-record=new", suite=other, say="other")) == {"passed": 1}
    with netplayground.open_dump(dump_of(place)) as dump:
        assert dump.processes[0].command.startswith("true; ")


def test_each_parameter_has_a_dump_of_its_own_also_under_xdist(place: Place) -> None:
    many = SUITE + textwrap.dedent(
        f"""
        @pytest.mark.plg({UPPER!r}, ready="up")
        @pytest.mark.parametrize("name", ["a/b", "a_b", "..", "ä", "x" * 300])
        def test_many(playground, name):
            assert ask(name.encode()) == name.encode().upper() + b"\\n"

        class TestClass:
            test_method = staticmethod(test_it)
        """
    )
    ended = test_run(place, "-n", "2", suite=many)
    assert counts(ended) == {"passed": 7}, ended
    names = {path.name for path in dump_of(place).parent.iterdir()}
    assert len(names) == 7 and {"test_it.traffic", "test_many[a_b].traffic"} < names
    assert all(re.fullmatch(r"[A-Za-z0-9_.,=+@\[\]-]{1,160}", name) for name in names)
    assert counts(test_run(place, "-n", "2", "--plg-record=none", suite=many)) == {"passed": 7}
    assert {path.name for path in dump_of(place).parent.iterdir()} == names


WRONG_MARKS = {
    '"a: true", "true"': "cannot mix named and unnamed commands",
    '"a: true", live=["b"]': "cannot run b live: no command is declared for it",
    '"a: true", ready="b"': "cannot use --ready b: no such process; there is a",
    '"a: true", subnet="nonsense"': "cannot use subnet 'nonsense'",
    '"a: exit 3", ready="a"': "cannot wait for a: it exited 3 before it listened on a port",
    '"a: true", record="x"': "cannot use record in the mark plg",
    '"a: true", seat="a"': "cannot name a process a: that is this program's seat",
    '"a: true", nonsense=1': "cannot use nonsense in the mark plg",
}


def test_words_of_the_mark_that_cannot_be_are_one_clear_line(place: Place) -> None:
    suite = "import pytest\ndef test_without_a_mark(playground): pass\n"
    for number, mark in enumerate(WRONG_MARKS):
        suite += f"@pytest.mark.plg({mark})\ndef test_{number}(playground): pass\n"
    ended = test_run(place, suite=suite)
    assert counts(ended) == {"error": 1 + len(WRONG_MARKS)}, ended
    for words in (*WRONG_MARKS.values(), "the test has no @pytest.mark.plg"):
        assert words in ended.stdout, ended
    assert "Traceback" not in ended.stdout and "During handling" not in ended.stdout, ended
    assert not (place.path / "dumps").exists()


def test_a_test_may_lead_its_processes_itself(place: Place) -> None:
    suite = SUITE.replace('ready="up")', "start=False, inside=False)").replace(
        "    assert ask()", '    playground.start("up", listening=7000)\n    assert playground.call(ask)'
    )
    for _ in range(2):
        assert counts(test_run(place, suite=suite)) == {"passed": 1}


def test_a_dump_of_the_command_line_serves_a_test(place: Place) -> None:
    client = python("peers.py", "ask", 7000, "up", "hello")
    commands = [UPPER, f"client: {client}"]
    netplayground.record(place.path / "kept.traffic", commands, ready=["up"], until=["client"])
    mark = 'dump="kept.traffic", seat="client"'
    suite = re.sub(r"plg\(.*\)", f"plg({mark})", SUITE)
    assert counts(test_run(place, "--plg-record=none", suite=suite)) == {"passed": 1}
    assert counts(test_run(place, "--plg-record=none", suite=suite, say="help!")) == {"failed": 1}


def test_a_damaged_dump_is_said(place: Place) -> None:
    test_run(place)
    dump_of(place).write_bytes(b"nonsense" * 100)
    ended = test_run(place)
    assert counts(ended) == {"error": 1} and f"cannot read {dump_of(place)}" in ended.stdout


def test_a_suite_without_it_imports_nothing_of_it(place: Place) -> None:
    suite = (
        "import sys\ndef test_it():\n    assert not [each for each in sys.modules if 'ground.api' in each]\n"
    )
    assert counts(test_run(place, suite=suite)) == {"passed": 1}


def test_pytest_that_is_killed_leaves_no_dump_and_no_process(place: Place) -> None:
    place.file(
        "test_it.py", SUITE.replace("assert ask()", "ask(); open('on', 'w'); import time; time.sleep(1000)")
    )
    with running(place, lean_command()) as started:
        deadline = time.monotonic() + 60
        while not (place.path / "on").exists():
            assert time.monotonic() < deadline and started.process.poll() is None
            time.sleep(0.01)
        started.process.kill()
        assert started.process.wait(30) == -signal.SIGKILL
    assert not dump_of(place).exists()
    assert list(dump_of(place).parent.iterdir()) == []


def shop_in(place: Place) -> Path:
    needs_program("redis-server")
    folder = place.folder("shop")
    shutil.copy(SHOP / "service.py", folder / "service.py")
    shutil.copy(SHOP / "suite.py", folder / "test_shop.py")
    return folder


def test_the_shops_suite(place: Place) -> None:
    folder = shop_in(place)
    for words in ([], ["--plg-record=none", "-n", "2"]):
        ended = run(place, ["env", "CI=", *pytest_command(str(folder), *words)], deadline_s=200)
        assert counts(ended) == {"passed": 5}, ended
    # The service is live in the replay: a mistake in it is found there, without the database.
    service = (folder / "service.py").read_text()
    (folder / "service.py").write_text(service.replace('"HSET"', '"HMSET"'))
    ended = run(place, ["env", "CI=1", *pytest_command(str(folder), "-k", "is_kept")], deadline_s=200)
    assert counts(ended)["failed"] == 1, ended
    assert re.search(r"shop, connection \d+ shop -> db:6379, byte \d+", ended.stdout), ended


def test_an_ordinary_users_suite(place: Place) -> None:
    folder, user = shop_in(place), as_nobody(place)
    for _ in range(2):
        ended = run(
            place, [*user, "env", "CI=", *pytest_command(str(folder), "-k", "is_kept")], deadline_s=200
        )
        assert counts(ended)["passed"] == 1, ended
