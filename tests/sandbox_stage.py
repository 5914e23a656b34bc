"""Plays commands in a real sandbox for the tests, each time in a process apart: plg moves but once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from needs import cannot_run, needs_program

ORDINARY_ID = 65534
_HERE = Path(__file__).resolve().parent
_MARK = "PLG_TEST_MARK"
_DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Played:
    """What came of a play: the commands' output, and for each process what plg was told, in order."""

    output: str
    errors: str
    events: list[list[str]]
    facts: dict[str, Any]

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


@dataclass(slots=True)
class Play:
    """A play that goes on; `mark` is in the environment of every process that descends from it."""

    stage: subprocess.Popen[str]
    report: int
    mark: str

    def finish(self) -> Played:
        """Wait for its end; nothing of it may be left."""
        try:
            output, errors = self.stage.communicate(timeout=_DEADLINE_S)
        finally:
            self.stage.kill()
            self.stage.wait()
        with open(self.report, encoding="utf-8") as pipe:
            text = pipe.read()
        assert self.stage.returncode == 0, errors + output
        told = json.loads(text)
        await_nothing_left(self.mark)
        return Played(output, errors, told["events"], told["facts"])


def play(*commands: str, **how: Any) -> Played:
    """Run the commands to their end, started by root or an ordinary user; nothing of them may be left."""
    return start_play(*commands, **how).finish()


def start_play(
    *commands: str,
    by_root: bool = True,
    own_tun: bool = True,
    ordinary_id: int = ORDINARY_ID,
    prefix: Sequence[str] = (),
    **options: Any,
) -> Play:
    """Start the commands; `prefix` is what the play's own command line begins with.

    `own_tun`: an ordinary user finds a TUN device that is open to him, whatever the machine's is.
    `ordinary_id` is that user.
    """
    readable, writable = os.pipe()
    mark = uuid.uuid4().hex
    task = json.dumps({"commands": commands, "options": options, "report": writable})
    user = () if by_root else ordinary_user(own_tun, ordinary_id)
    stage = subprocess.Popen(
        [*prefix, *user, sys.executable, str(_HERE / "sandbox_actor.py"), task],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(writable,),
        env=_environment() | {_MARK: mark},
        start_new_session=True,
        cwd="/",
    )
    os.close(writable)
    return Play(stage, readable, mark)


# A TUN device that everybody may open, in place of the machine's, which may be closed to an ordinary user.
_OWN_TUN = 'mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && exec "$@"'


@cache
def ordinary_user(own_tun: bool = True, user_id: int = ORDINARY_ID) -> tuple[str, ...]:
    """What a command line begins with whose rest an ordinary user is to run."""
    needs_program("setpriv", "unshare")
    device = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _OWN_TUN, "sh")
    user = ("setpriv", f"--reuid={user_id}", f"--regid={user_id}", "--clear-groups")
    prefix = (*(device if own_tun else ()), *user)
    trial = [*prefix, sys.executable, "-c", "import netplayground.sandbox, pytun"]
    if subprocess.run(trial, env=_environment(), capture_output=True, cwd="/").returncode:
        cannot_run("an ordinary user cannot read this Python or this package")
    return prefix


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_HERE.parent), "PYTHONDONTWRITEBYTECODE": "1"}


def marked_processes(mark: str) -> dict[int, str]:
    """The living processes of a play, with their command lines."""
    wanted = f"{_MARK}={mark}".encode()
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (directory / "environ").read_bytes().split(b"\0"):
                found[int(directory.name)] = (directory / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def await_nothing_left(mark: str, patience_s: float = 5.0) -> None:
    """Wait until no process of the play lives, and with them none of its namespaces."""
    deadline = time.monotonic() + patience_s
    while left := marked_processes(mark):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.005)
