"""A fork does its work, and nothing of what its parent was about to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from netplayground.sandbox.fork import fork, held_signals


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_its_status_is_what_the_work_gives() -> None:
    assert [status_of(fork(lambda status=status: status)) for status in (0, 7)] == [0, 7]  # type: ignore[misc]


def test_what_fails_in_it_ends_it_there() -> None:
    def work() -> int:
        raise KeyboardInterrupt

    assert status_of(fork(work)) == 125


def test_ctrl_c_is_for_the_parent() -> None:
    def work() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return 3

    assert status_of(fork(work)) == 3


def test_a_signal_that_comes_meanwhile_is_acted_upon_behind_the_block() -> None:
    came: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append("signal"))
    try:
        with held_signals():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            came.append("block")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert came == ["block", "signal"]


# A signal is pending for the parent when it forks: its program must not go on twice.
TWICE = """
import os, signal, sys
from netplayground.sandbox import fork as module
real = os.fork
def forked():
    pid = real()
    os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = forked
try:
    module.fork(lambda: 0)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_between_fork_and_work_does_not_run_the_program_twice() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_it_ends_with_its_parent() -> None:
    code = "import signal; from netplayground.sandbox.fork import fork; fork(lambda: signal.pause()); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        parent.stdin.write(b"\n")
        parent.stdin.close()
        assert parent.stdout.read() == b""  # the fork has it open, too
    assert parent.returncode == 0


def test_where_no_process_can_be_made_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(os, "fork", refused)
    with pytest.raises(BlockingIOError):
        fork(lambda: 0)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
