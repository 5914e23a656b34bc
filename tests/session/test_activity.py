"""What a look at real processes finds: running, sleeping, stopped, traced, gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from needs import cannot_run
from netplayground.replay.waiting import Activity
from netplayground.session import activity
from netplayground.session.activity import look_at

_DEADLINE_S = 20.0
_SLEEP = "import time; time.sleep(1000)"
_SPIN = "while True: pass"
_SPIN_IN_A_THREAD = (
    "import threading as t, time; t.Thread(target=exec, args=('while True: pass',)).start(); time.sleep(1000)"
)


class Tree:
    """A process in place of PID 1, and what it starts."""

    def __init__(self, program: str, in_between: int = 0) -> None:
        words = [sys.executable, "-c", program]
        for _ in range(in_between):
            words = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])", *words]
        first = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(1000)"
        self.first = subprocess.Popen(
            [sys.executable, "-c", first, *words], start_new_session=True, stdin=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        return self.first.pid

    def last(self) -> int:
        """The process at the end of the tree."""
        pid = self.pid
        while found := _children(pid):
            pid = found[0]
        return pid

    def close(self) -> None:
        os.killpg(self.first.pid, signal.SIGKILL)
        self.first.wait()


@pytest.fixture(autouse=True)
def children_are_listed() -> None:
    if not Path("/proc/self/task").joinpath(str(os.getpid()), "children").exists():
        cannot_run("needs a kernel with CONFIG_PROC_CHILDREN")


@pytest.fixture
def grow() -> Iterator[Callable[..., Tree]]:
    trees: list[Tree] = []

    def grown(program: str, in_between: int = 0) -> Tree:
        trees.append(Tree(program, in_between))
        return trees[-1]

    yield grown
    for tree in trees:
        tree.close()


def test_a_process_that_sleeps_is_idle(grow: Callable[..., Tree]) -> None:
    tree = grow(_SLEEP)
    _await(lambda: _has_come(tree, 0) and look_at(tree.pid) is Activity.IDLE and _is_asleep(tree), tree)


@pytest.mark.parametrize("program", [_SPIN, _SPIN_IN_A_THREAD])
@pytest.mark.parametrize("in_between", [0, 3])
def test_a_thread_that_runs_makes_it_busy_however_deep_it_is(
    grow: Callable[..., Tree], program: str, in_between: int
) -> None:
    tree = grow(program, in_between)
    _await(lambda: _has_come(tree, in_between) and look_at(tree.pid) is Activity.BUSY, tree)


def test_a_process_that_a_signal_has_stopped_is_stopped_until_it_goes_on(grow: Callable[..., Tree]) -> None:
    tree = grow(_SPIN)
    _await(lambda: _has_come(tree, 0), tree)
    os.kill(tree.last(), signal.SIGSTOP)
    _await(lambda: look_at(tree.pid) is Activity.STOPPED, tree)
    os.kill(tree.last(), signal.SIGCONT)
    _await(lambda: look_at(tree.pid) is Activity.BUSY, tree)


def test_stopped_counts_before_busy(grow: Callable[..., Tree]) -> None:
    """One process under a debugger, another one of the same command polls for it."""
    both = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {_SLEEP!r}])\n{_SPIN}"
    tree = grow(both)
    _await(lambda: _has_come(tree, 1), tree)
    os.kill(tree.last(), signal.SIGSTOP)
    _await(lambda: look_at(tree.pid) is Activity.STOPPED, tree)


def test_a_process_that_a_debugger_has_stopped_is_stopped(grow: Callable[..., Tree]) -> None:
    traced = (
        "import ctypes, os, signal\n"
        "pid = os.fork()\n"
        "if not pid:\n"
        "    ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"  # PTRACE_TRACEME
        "    os.kill(os.getpid(), signal.SIGUSR1)\n"  # stops for its tracer, and then would end
        "import time; time.sleep(1000)\n"
    )
    tree = grow(traced)
    _await(lambda: look_at(tree.pid) is Activity.STOPPED, tree)


def test_who_has_ended_is_idle(grow: Callable[..., Tree]) -> None:
    tree = grow("pass")
    _await(lambda: look_at(tree.pid) is Activity.IDLE and _is_asleep(tree), tree)
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    assert look_at(gone.pid) is Activity.IDLE


def test_the_first_process_itself_does_not_count(grow: Callable[..., Tree]) -> None:
    own = subprocess.Popen([sys.executable, "-c", _SPIN])
    try:
        assert look_at(own.pid) is Activity.IDLE
    finally:
        own.kill()
        own.wait()


def test_a_name_may_hold_anything(grow: Callable[..., Tree]) -> None:
    named = f"open('/proc/self/comm', 'w').write(') S (x) D')\n{_SLEEP}"
    tree = grow(named)
    _await(lambda: _has_come(tree, 0) and _comm(tree.last()) == ") S (x) D", tree)
    _await(lambda: look_at(tree.pid) is Activity.IDLE, tree)


def test_a_thread_that_ends_meanwhile_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    me = os.getpid()
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["4194999", *real(path)])
    assert len(list(activity._read_of_threads(me, "stat"))) == len(real(f"/proc/{me}/task"))


def _await(holds: Callable[[], bool], tree: Tree) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, (tree.pid, _children(tree.pid))
        time.sleep(0.002)


def _has_come(tree: Tree, depth: int) -> bool:
    """Whether the tree is as deep as that, and its last process runs Python code."""
    pid, deep = tree.pid, -1
    while found := _children(pid):
        pid, deep = found[0], deep + 1
    return deep >= depth


def _is_asleep(tree: Tree) -> bool:
    pid = tree.last()
    return pid == tree.pid or _state(pid) in "SZ"


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
