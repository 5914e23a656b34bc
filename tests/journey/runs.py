"""Whole runs: plg as a subprocess with a deadline, its outcome, and the certainty that nothing of it is left.

A `Place` is the folder of one test: the dump, the programs' files, what they said. It is open to every user,
because servers drop to a user of their own.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from journey import leftovers

import netplayground
from needs import needs_program

PACKAGE_PARENT = Path(netplayground.__file__).resolve().parent.parent
ORDERLY_S = 1.0  # plg waits for its own before it ends; this is for the kernel
KILLED_S = 10.0  # after kill -9 each namespace ends by itself, on a loaded machine too


@dataclass(frozen=True)
class Ended:
    """How one run of plg (or of the same commands without it) came out; the names that plg puts before each
    line where several processes run are taken off again."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_line(self) -> str:
        return self.stderr.rstrip().rpartition("\n")[2]

    def __str__(self) -> str:
        head = f"status {self.status} after {self.seconds:.1f} s"
        return f"{head}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Place:
    """The folder of one test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.chmod(0o777)
        self.temporary = self.folder("tmp")

    @property
    def dump(self) -> Path:
        return self.path / "dump.traffic"

    def folder(self, name: str) -> Path:
        folder = self.path / name
        folder.mkdir()
        folder.chmod(0o777)
        return folder

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o666)
        return path

    def environment(self) -> dict[str, str]:
        search = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(search), "TMPDIR": str(self.temporary)}


class Run:
    """One plg that runs."""

    def __init__(
        self, process: subprocess.Popen[bytes], said: Path, complained: Path, names: Sequence[str]
    ) -> None:
        self.process = process
        self._names = names
        self._said, self._complained = said, complained
        self._begin = time.monotonic()

    def wait(self, deadline_s: float) -> Ended:
        try:
            status = self.process.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no end after {deadline_s:g} s: {self.ended(-1)}") from error
        return self.ended(status)

    def ended(self, status: int) -> Ended:
        stdout, stderr = (
            without_names(path.read_text(errors="replace"), self._names)
            for path in (self._said, self._complained)
        )
        return Ended(status, stdout, stderr, time.monotonic() - self._begin)

    def stop(self, deadline_s: float = 15) -> Ended:
        """End it as a user does, with ^C."""
        self.process.send_signal(signal.SIGINT)
        return self.wait(deadline_s)


def names_in(command: Sequence[str]) -> list[str]:
    """The names that the processes of this command line may have."""
    named = [match[1] for word in command if (match := re.match(r"([A-Za-z][A-Za-z0-9_-]*): ", word))]
    return named or [f"p{position}" for position in range(1, len(command))]


def without_names(text: str, names: Sequence[str]) -> str:
    """Each line without the name of its process."""
    return re.sub(rf"^(?:{'|'.join(names)}) *\| ", "", text, flags=re.MULTILINE) if names else text


def plg(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "netplayground", *arguments]


def record_command(dump: Path, options: Sequence[str], commands: Sequence[str]) -> list[str]:
    return plg("--record", "-f", str(dump), *options, *commands)


@contextmanager
def running(
    place: Place, command: Sequence[str], *, stdin: int = subprocess.DEVNULL, leaves_nothing: bool = True
) -> Iterator[Run]:
    """Start a command line in the test's folder; afterwards it is over, and nothing of it is left."""
    leftovers.adopt_orphans()
    before = leftovers.look(place.temporary)
    number = len(list(place.path.glob("*.stdout")))
    said, complained = place.path / f"{number}.stdout", place.path / f"{number}.stderr"
    with said.open("wb") as out, complained.open("wb") as err:
        process = subprocess.Popen(
            list(command), stdin=stdin, stdout=out, stderr=err, env=place.environment(), cwd=place.path
        )
    run = Run(process, said, complained, names_in(command))
    try:
        yield run
    finally:
        orderly = process.poll() is not None and process.returncode >= 0
        process.kill()
        process.wait()
        left = leftovers.left_since(before, place.temporary, ORDERLY_S if orderly else KILLED_S)
    if leaves_nothing:
        assert not left, f"left behind: {left}\n{run.ended(process.returncode)}"


def run(
    place: Place, command: Sequence[str], *, deadline_s: float = 30, stdin: int = subprocess.DEVNULL
) -> Ended:
    with running(place, command, stdin=stdin) as started:
        return started.wait(deadline_s)


def record(
    place: Place,
    *commands: str,
    options: Sequence[str] = (),
    deadline_s: float = 30,
    before: Sequence[str] = (),
) -> Ended:
    """`plg --record` from start to end; `before` are words before it (see ordinary.py)."""
    return run(place, [*before, *record_command(place.dump, options, commands)], deadline_s=deadline_s)


def python(script: str, *arguments: object) -> str:
    """A shell command line that runs a script of this folder with the interpreter of the tests."""
    path = Path(__file__).with_name(script)
    return " ".join(["exec", *(shlex.quote(str(word)) for word in (sys.executable, path, *arguments))])


def witnessed(capture: Path, peer: str, command: str) -> str:
    """The same command, while tcpdump in its namespace captures what it says to anyone; needs root."""
    needs_program("tcpdump")
    return python("witness.py", capture, peer, command)
