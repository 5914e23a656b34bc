"""Commands end as they would outside, and everything of them is gone at the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from sandbox_stage import play

from needs import needs_root, needs_tun

EXITED_0 = "ProcessExited(code=0, signal=None)"
TERMINATED = "ProcessExited(code=None, signal=15)"
KILLED = "ProcessExited(code=None, signal=9)"


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    return bool(request.param == "root")


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A file by which a command, whoever runs it, says that it has got so far."""
    return tmp_path / "ready"


def test_kill_signal_reaches_what_the_shell_waits_for(by_root: bool, ready: Path) -> None:
    played = play(f"touch {ready}; sleep 77; true", by_root=by_root, when=str(ready), act="finish")
    assert played.events == [[TERMINATED, "Gone()"]]


def test_plain_sleep_ends_by_the_kill_signal(by_root: bool, ready: Path) -> None:
    played = play(f"touch {ready}; exec sleep 77", by_root=by_root, when=str(ready), act="finish")
    assert played.events == [[TERMINATED, "Gone()"]]


def test_another_kill_signal(by_root: bool, ready: Path) -> None:
    played = play(
        f"trap 'exit 3' INT; touch {ready}; while :; do sleep 0.01; done",
        by_root=by_root,
        when=str(ready),
        act="finish",
        kill_signal=signal.SIGINT,
    )
    assert played.events == [["ProcessExited(code=3, signal=None)", "Gone()"]]


def test_who_ignores_the_kill_signal_is_killed_after_the_grace(by_root: bool, ready: Path) -> None:
    began = time.monotonic()
    played = play(
        f"trap '' TERM; touch {ready}; while :; do sleep 0.01; done",
        by_root=by_root,
        when=str(ready),
        act="finish",
        grace_s=0.3,
    )
    assert played.events == [[KILLED, "Gone()"]]
    assert 0.3 < time.monotonic() - began < 5


def test_who_stopped_itself_gets_the_kill_signal(by_root: bool, ready: Path) -> None:
    command = f"(sleep 0.05; touch {ready}) & kill -STOP $$; wait"
    played = play(command, by_root=by_root, when=str(ready), act="finish")
    assert played.events == [[TERMINATED, "Gone()"]]


def test_a_signal_goes_to_the_group(by_root: bool, ready: Path) -> None:
    command = f"trap 'echo got it; exit 4' USR1; touch {ready}; while :; do sleep 0.01; done"
    played = play(command, by_root=by_root, when=str(ready), act=f"signal {int(signal.SIGUSR1)}")
    # The sleep died of it, being of the group, and the shell lived to say so.
    assert played.lines == ["got it"]
    assert played.events == [["ProcessExited(code=4, signal=None)", "Gone()"]]


def test_sigkill_takes_everything_at_once(by_root: bool, ready: Path) -> None:
    command = f"setsid sh -c 'trap \"\" TERM; sleep 77' & touch {ready}; sleep 77"
    played = play(command, by_root=by_root, when=str(ready), act="kill")
    assert played.events == [["Gone()"]]


def test_daemons_end_with_the_leader(by_root: bool) -> None:
    daemon = "(setsid sh -c 'trap \"echo told >&2; exit\" TERM; while :; do sleep 0.01; done' &)"
    played = play(f"{daemon}; sleep 0.2; exit 0", by_root=by_root)
    assert played.events == [[EXITED_0, "Gone()"]]
    assert "told" in played.errors.splitlines()


def test_deaf_daemons_are_killed_after_the_grace(by_root: bool) -> None:
    daemon = "(setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 0.01; done' &)"
    played = play(f"{daemon}; exit 0", by_root=by_root, grace_s=0.2)
    assert played.events == [[EXITED_0, "Gone()"]]


def test_broken_pipe_ends_a_writer_as_outside(by_root: bool) -> None:
    assert play("yes | head -1", by_root=by_root).lines == ["y"]
    status = play("grep SigIgn /proc/self/status", by_root=by_root)
    assert status.lines == ["SigIgn:\t0000000000000000"]


def test_orphans_are_reaped(by_root: bool) -> None:
    command = "for i in 1 2 3 4 5; do (true & ) ; done; sleep 0.2; ps -o stat= | grep -c Z"
    assert play(command, by_root=by_root).lines[-1:] in (["0"], [])


def test_signals_ignored_at_the_start_stay_ignored(by_root: bool) -> None:
    played = play("grep SigIgn /proc/self/status", by_root=by_root, prefix=("env", "--ignore-signal=HUP,INT"))
    assert played.lines == ["SigIgn:\t0000000000000003"]


def test_umask_and_limits_are_as_at_the_start(by_root: bool) -> None:
    played = play(
        "umask; ulimit -Sn; ulimit -Hn",
        by_root=by_root,
        prefix=("sh", "-c", 'umask 027; ulimit -Sn 333; ulimit -Hn 777; exec "$@"', "sh"),
    )
    assert played.lines == ["0027", "333", "777"]


def test_a_limit_on_processes_is_told() -> None:
    """It counts the processes of a user, wherever they are; root is exempt from it."""
    needs_root()
    needs_tun()
    limit = ("prlimit", "--nproc=1:1")
    # plg is one already. Other tests may have processes of nobody's, which would count.
    alone = 40_000 + os.getpid() % 20_000
    played = play("true", by_root=False, ordinary_id=alone, prefix=limit)
    assert "Resource temporarily unavailable" in played.facts.get("error", "") + str(played.events)


def test_command_leads_a_group_of_its_own(by_root: bool) -> None:
    played = play("echo $$ $(ps -o pgid= -p $$)", by_root=by_root)
    pid, group = played.output.split()
    assert pid == group
