"""plg killed at any moment leaves nothing; its namespaces last as long as it holds them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandbox_stage import await_nothing_left, marked_processes, play, start_play

from needs import needs_root, needs_tun

ATTEMPTS = 25


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    return bool(request.param == "root")


def test_sigkill_at_random_moments_leaves_nothing(by_root: bool) -> None:
    stubborn = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM; sleep 77' &); sleep 77; sleep 77"
    chance = random.Random(7)
    for _ in range(ATTEMPTS):
        play = start_play(*[stubborn] * 5, by_root=by_root)
        # From before the first fork to well after every command runs.
        time.sleep(chance.uniform(0.02, 0.35))
        play.stage.kill()
        play.stage.communicate()
        os.close(play.report)
        await_nothing_left(play.mark)


def test_sigkill_amid_the_build_of_many_leaves_nothing(by_root: bool) -> None:
    chance = random.Random(11)
    seen = 0
    for _ in range(5):
        play = start_play(*["sleep 77"] * 60, by_root=by_root)
        while len(marked_processes(play.mark)) < chance.randint(2, 40):
            assert play.stage.poll() is None
        seen = max(seen, len(marked_processes(play.mark)))
        play.stage.kill()
        play.stage.communicate()
        os.close(play.report)
        await_nothing_left(play.mark)
    assert seen > 2


def test_sigterm_to_plg_alone_ends_everything(by_root: bool) -> None:
    play = start_play("sleep 77", "sleep 77", by_root=by_root)
    deadline = time.monotonic() + 10
    while list(marked_processes(play.mark).values()).count("sleep 77 ") < 2:
        assert time.monotonic() < deadline
    play.stage.terminate()
    play.stage.communicate()
    os.close(play.report)
    await_nothing_left(play.mark)


def test_a_hundred_processes_end_soon(by_root: bool) -> None:
    played = play(*["sleep 0.01"] * 100, by_root=by_root)
    assert played.facts["close_s"] < 2


def test_a_dead_process_still_answers() -> None:
    """The namespace outlives its processes until plg closes it: its kernel says RST to callers."""
    needs_root()
    needs_tun()
    # In a program of its own: plg moves into another namespace for good, and must have one thread.
    script = Path(__file__).parent.parent / "sandbox_dead.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
