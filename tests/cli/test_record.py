"""`plg --record` up to where the run begins, and from its summary to the last line."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from netplayground.cli.main import main
from netplayground.errors import SandboxError
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic
from netplayground.session.plan import Plan

SERVER = ProcessOutcome("p1", 1, "redis-server", signal=15, ended_by_plg=True, ended_ns=2)
CLIENT = ProcessOutcome("p2", 2, "redis-cli ping", exit_code=0, ended_ns=1)
SUMMARY = RunSummary(
    (SERVER, CLIENT),
    Traffic(connections=1, bytes_to_server=14, bytes_to_client=7),
    Path("x.traffic"),
    dump_bytes=2345,
    duration_s=0.3214,
    until_process="p2",
)


@dataclass
class FakeRun:
    """Stands for the run: keeps the plans, answers with a summary or an error."""

    answer: RunSummary | Exception = SUMMARY
    plans: list[Plan] = field(default_factory=list)

    def record(
        self, plan: Plan, narrate: Callable[[str], None], *_carried: object, **_watched: object
    ) -> RunSummary:
        self.plans.append(plan)
        if plan.verbosity:
            narrate("p2:1 → p1:2 closed")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake, module = FakeRun(), ModuleType("netplayground.session.record")
    module.record = fake.record  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "netplayground.session.record", module)
    return fake


def test_the_table_at_the_end_is_on_stderr(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--record", "-f", "x.traffic", "--until", "p2", "redis-server", "redis-cli ping"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "plg: process  ended                             command",
        "plg: p1       ended by plg (killed by SIGTERM)  redis-server",
        "plg: p2       exited 0                          redis-cli ping",
        "plg: 1 connection, 14 bytes to servers, 7 bytes to clients, 0 dropped",
        "plg: x.traffic: 2,345 bytes, 0.321 s",
    ]


def test_the_last_line_names_the_source_of_a_failure(
    run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run.answer = RunSummary((ProcessOutcome("db", 1, "x", exit_code=3),), Traffic(), Path("x"))
    assert main(["--record", "-f", "x", "db: x"]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "plg: db exited 3"


def test_what_plg_cannot_do_is_one_line(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    run.answer = SandboxError("cannot open /dev/net/tun: Permission denied")
    assert main(["--record", "-f", "x", "true"]) == 125
    assert capsys.readouterr().err == "plg: cannot open /dev/net/tun: Permission denied\n"


def test_all_options_reach_the_plan(run: FakeRun) -> None:
    words = (
        "--record -f d.traffic -s 10.9.0.0/16 -u 0 -g 0 -k INT --grace 1.5 --ready a --ready b:80 --until c "
        "--timeout 9 --mtu 9000 --keep-hostname -vv --debug"
    )
    main([*words.split(), "a: x", "b: y", "c: z"])
    (plan,) = run.plans
    assert (plan.dump_path, str(plan.subnet), plan.uid, plan.gid) == (Path("d.traffic"), "10.9.0.0/16", 0, 0)
    assert (plan.kill_signal, plan.grace_s, plan.timeout_s, plan.mtu) == (2, 1.5, 9.0, 9000)
    assert [(rule.name, rule.port) for rule in plan.ready] == [("a", None), ("b", 80)]
    assert (plan.until, plan.keep_hostname, plan.verbosity, plan.debug) == (("c",), True, 2, True)


def test_options_may_come_after_a_command(run: FakeRun) -> None:
    main(["--record", "x", "-f", "d", "y"])
    assert [process.command for process in run.plans[0].processes] == ["x", "y"]


def test_what_begins_with_a_dash_comes_after_two(run: FakeRun) -> None:
    main(["--record", "-f", "d", "--", "-x"])
    assert [process.command for process in run.plans[0].processes] == ["-x"]


def test_nolog_silences_the_lines_of_connections(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--record", "-f", "d", "-v", "x"])
    assert "plg: p2:1 → p1:2 closed\n" in capsys.readouterr().err
    main(["--record", "-f", "d", "-v", "--nolog", "x"])
    assert "closed" not in capsys.readouterr().err


def test_users_are_looked_up_in_the_system(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--record", "-f", "d", "-u", "no-such-user", "x"]) == 2
    assert capsys.readouterr().err == "plg: cannot find user 'no-such-user'\n"
    if os.geteuid() == 0:
        main(["--record", "-f", "d", "-u", "root", "-g", "root", "x"])
        assert (run.plans[-1].uid, run.plans[-1].gid) == (0, 0)


class Deaf(io.StringIO):
    """A stderr whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_stderr_that_nobody_reads_does_not_end_a_run(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Deaf())
    assert main(["--record", "-f", "d", "-v", "x"]) == 0
