"""What programs say, on its way into files."""

from __future__ import annotations

import os
import tempfile

import pytest

from netplayground.errors import PlaygroundError
from netplayground.session.sinks import Sinks
from netplayground.traffic.loop import Loop


def test_all_that_is_said_is_kept_also_what_comes_last() -> None:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sinks, loop = Sinks({"p": (out.fileno(), err.fileno())}), Loop()
        streams = sinks.streams["p"]
        told, last = os.dup(streams.stdout), os.dup(streams.stderr)
        sinks.attend(loop)
        os.write(told, b"one ")
        loop.call_after(0.05, loop.stop)
        loop.run()
        assert os.pread(out.fileno(), 100, 0) == b"one "
        os.write(told, b"two")
        os.write(last, b"x" * 60_000)
        os.close(told)
        os.close(last)
        loop.close()
        sinks.close()
        assert os.pread(out.fileno(), 100, 0) == b"one two"
        assert os.fstat(err.fileno()).st_size == 60_000


def test_whoever_opens_stdout_anew_writes_on() -> None:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sinks = Sinks({"p": (out.fileno(), err.fileno())})
        told = sinks.streams["p"].stdout
        os.write(told, b"one ")
        again = os.open(f"/proc/self/fd/{told}", os.O_WRONLY | os.O_TRUNC)
        os.write(again, b"two")
        os.close(again)
        sinks.close()
        assert os.pread(out.fileno(), 100, 0) == b"one two"


def test_a_full_disk_is_said() -> None:
    with open("/dev/full", "wb") as full:
        sinks = Sinks({"p": (full.fileno(), full.fileno())})
        os.write(sinks.streams["p"].stdout, b"words")
        with pytest.raises(PlaygroundError, match="cannot keep what p says: No space left"):
            sinks.close()


def test_without_programs_there_is_nothing_to_do() -> None:
    sinks = Sinks({})
    assert sinks.streams == {}
    sinks.close()
    sinks.close()
