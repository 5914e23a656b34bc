from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox.inheritance import Inheritance, handled_signals, parse_status, signals_of


def test_status_fields_are_taken_apart() -> None:
    assert parse_status("Name:\tsh: x\nUmask:\t0022\n\nSigIgn:\t0000000000001000\n") == {
        "Name": "sh: x",
        "Umask": "0022",
        "SigIgn": "0000000000001000",
    }


@given(st.text())
def test_any_text_has_some_fields(text: str) -> None:
    assert isinstance(parse_status(text), dict)


@given(st.sets(st.integers(1, 64)))
def test_signals_of_a_mask(numbers: set[int]) -> None:
    assert signals_of(sum(1 << (number - 1) for number in numbers)) == numbers


def test_what_python_ignores_counts_as_default() -> None:
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
    assert signal.SIGPIPE not in Inheritance.of_this_process().ignored


def test_descriptors_that_survive_exec_are_known() -> None:
    readable, writable = os.pipe()
    os.set_inheritable(writable, True)
    try:
        descriptors = Inheritance.of_this_process().descriptors
        assert writable in descriptors
        assert readable not in descriptors
    finally:
        os.close(readable)
        os.close(writable)


def test_handled_signals_are_known() -> None:
    former = signal.signal(signal.SIGUSR2, lambda number, frame: None)
    try:
        assert signal.SIGUSR2 in handled_signals()
    finally:
        signal.signal(signal.SIGUSR2, former)
    assert signal.SIGUSR2 not in handled_signals()


def test_restored_process_is_as_before() -> None:
    program = (
        "import os, resource, signal\n"
        "from netplayground.sandbox.inheritance import Inheritance\n"
        "before = Inheritance.of_this_process()\n"
        "os.umask(0o077)\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGUSR1, print)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (77, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "assert Inheritance.of_this_process() != before\n"
        "before.restore()\n"
        "assert Inheritance.of_this_process() == before\n"
        "assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL\n"
    )
    root = Path(__file__).resolve().parent.parent.parent
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(root)}, check=True)


def test_limits_are_all_there() -> None:
    limits = dict(Inheritance.of_this_process().limits)
    assert limits[resource.RLIMIT_NOFILE] == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert resource.RLIMIT_CORE in limits
