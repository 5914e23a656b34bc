"""`plg --replay` up to where the run begins, and from its verdict to the last line."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from dump.making import create, every_ending, opened, say, writing

import netplayground.session.replay as session
from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.recording import Recording
from netplayground.errors import SandboxError
from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic
from netplayground.session.plan import Plan
from netplayground.session.replay import ReplaySummary

RUN = RunSummary(
    (
        ProcessOutcome("db", 1, "-"),
        ProcessOutcome("app", 2, "ask", exit_code=0, ended_ns=1),
    ),
    Traffic(),
    Path("d.traffic"),
    duration_s=0.3214,
)
PLAYED = ReplaySummary(RUN, Verdict(3, 3, 21, 21))
DIVERGENCE = Divergence(DivergenceKind.DIFFERENT, "app", 1, "app -> db:80", 0, 4, "other bytes", 0)


@dataclass
class FakeRun:
    """Stands for the run: keeps what it was to play, answers with a summary or an error."""

    answer: ReplaySummary | Exception = PLAYED
    plans: list[Plan] = field(default_factory=list)
    options: list[ReplayOptions] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)

    def replay(
        self,
        plan: Plan,
        options: ReplayOptions,
        recording: Recording,
        narrate: Callable[[str], None],
        *_carried: object,
        **_watched: object,
    ) -> ReplaySummary:
        self.plans.append(plan)
        self.options.append(options)
        self.missing.append(recording.missing)
        self.connections.append(len(recording.connections))
        if plan.verbosity:
            narrate("app plays the client of connection 0")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(session, "replay", fake.replay)
    return fake


@pytest.fixture
def dump(tmp_path: Path) -> str:
    path = tmp_path / "d.traffic"
    with writing(path) as writer:
        every_ending(writer, 4)
    return str(path)


def test_the_verdict_is_on_stderr_and_stdout_is_the_processes(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--replay", "-f", dump, "-", "ask"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "plg: process  ended                 command",
        "plg: db       played from the dump  -",
        "plg: app      exited 0              ask",
        "plg: d.traffic: 100 % of 3 connections and 21 bytes as recorded, 0.321 s",
    ]


def test_a_divergence_is_status_3_and_the_last_word(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = Verdict(3, 2, 21, 14, divergence_count=1, divergences=(DIVERGENCE,))
    run.answer = ReplaySummary(replace(RUN, has_diverged=True), verdict)
    assert main(["--replay", "-f", dump, "-", "ask"]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert "plg: diverged: app, connection 1 app -> db:80, byte 4: other bytes" in lines
    assert lines[-1] == "plg: diverged"


def test_the_status_of_a_process_is_that_of_the_replay(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = ProcessOutcome("app", 2, "ask", exit_code=7, ended_ns=1)
    run.answer = replace(PLAYED, run=replace(RUN, processes=(RUN.processes[0], failed)))
    assert main(["--replay", "-f", dump, "-", "ask"]) == 7
    assert capsys.readouterr().err.splitlines()[-1] == "plg: app exited 7"


def test_what_plg_cannot_do_is_one_line(run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    run.answer = SandboxError("cannot open /dev/net/tun: Permission denied")
    assert main(["--replay", "-f", dump, "-", "ask"]) == 125
    assert capsys.readouterr().err == "plg: cannot open /dev/net/tun: Permission denied\n"


def test_all_options_reach_plan_and_pace(run: FakeRun, dump: str) -> None:
    words = (
        f"--replay -f {dump} -s 10.9.0.0/16 -u 0 -g 0 -k INT --grace 1.5 --ready db:80 --until app "
        "--timeout 9 --mtu 9000 --keep-hostname -vv --debug --speed 4 --ignore a+ --ignore b "
        "--patience 0.5 --stall 0 --strict-order --on-divergence stop"
    )
    main([*words.split(), "serve", "ask"])
    (plan,), (options,) = run.plans, run.options
    assert (str(plan.subnet), plan.uid, plan.gid, plan.debug) == ("10.9.0.0/16", 0, 0, True)
    assert (plan.kill_signal, plan.grace_s, plan.timeout_s, plan.mtu) == (2, 1.5, 9.0, 9000)
    assert [(rule.name, rule.port) for rule in plan.ready] == [("db", 80)]
    assert (plan.until, plan.keep_hostname, plan.verbosity) == (("app",), True, 2)
    assert (options.pace, options.speed, options.ignore) == (Pace.TIMED, 4.0, (b"a+", b"b"))
    assert (options.patience_ns, options.stall_ns) == (500_000_000, 0)
    assert (options.strict_order, options.on_divergence) == (True, OnDivergence.STOP)


def test_without_a_subnet_it_is_the_recordings(run: FakeRun, dump: str) -> None:
    main(["--replay", "-f", dump, "-", "ask"])
    assert str(run.plans[0].subnet) == "10.0.0.0/24"
    assert [str(process.address4) for process in run.plans[0].processes] == ["10.0.0.1", "10.0.0.2"]


def test_a_replay_may_be_a_command_of_its_own_or_come_last(run: FakeRun, dump: str) -> None:
    for words in (["replay", "-f", dump, "-", "ask"], ["-f", dump, "-", "ask", "--replay"]):
        assert main(words) == 0
    assert len({plan.processes for plan in run.plans}) == 1


def test_nolog_silences_the_lines_of_connections(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--replay", "-f", dump, "-v", "-", "ask"])
    assert "plg: app plays the client of connection 0\n" in capsys.readouterr().err
    main(["--replay", "-f", dump, "-v", "--nolog", "-", "ask"])
    assert "plays the client" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "cannot replay 0 commands: the recording has 2 processes (db, app), '-' plays one from the dump",
        ),
        (["ask"], "cannot replay 1 command: the recording has 2 processes (db, app)"),
        (["-", "-"], "cannot replay db, app: all are canned, one at least must run"),
        (["who: x"], "cannot replay who: no such process in the recording, there is db, app"),
        (["--ignore", "[", "-", "ask"], "cannot use --ignore '[': unterminated character set"),
        (["--until", "who", "-", "ask"], "cannot use --until who: no such process; there is db, app"),
        (["--on-divergence", "x", "-", "ask"], "invalid value for '--on-divergence': 'x' is not one of"),
        (["-s", "10.0.0.0/31", "--mtu", "1", "-", "ask"], "cannot use --mtu 1: not from 1280 to 65535"),
    ],
)
def test_words_that_make_no_replay_are_one_line_and_nothing_runs(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["--replay", "-f", dump, *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"plg: {message}")
    assert err.count("\n") == 1
    assert run.plans == []


def test_what_is_no_dump_is_one_line_and_never_hangs(
    run: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"what is this?\n" * 100)
    causes = {
        "missing": f"cannot open {tmp_path}/missing: No such file or directory",
        ".": f"cannot read {tmp_path}: not a regular file",
        "fifo": f"cannot read {tmp_path}/fifo: not a regular file",
        "empty": f"cannot read {tmp_path}/empty: ",
        "text": f"cannot read {tmp_path}/text: ",
    }
    for name, cause in causes.items():
        assert main(["--replay", "-f", str(tmp_path / name), "-", "ask"]) == 125
        err = capsys.readouterr().err
        assert err.startswith(f"plg: {cause}")
        assert err.count("\n") == 1
        assert not err.endswith(".\n")
    assert main(["--replay", "-f", "/dev/zero", "-", "ask"]) == 125
    assert run.plans == []


def test_damage_is_told_with_its_place(run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]) -> None:
    octets = bytearray(Path(dump).read_bytes())
    octets[-30] ^= 1
    Path(dump).write_bytes(octets)
    assert main(["--replay", "-f", dump, "-", "ask"]) == 125
    assert "damaged at byte" in capsys.readouterr().err
    assert run.plans == []


def test_a_dump_that_is_being_recorded_replays_as_a_torn_one(
    run: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "d.traffic"
    writer = create(path)
    connection = opened(writer)
    say(connection, CLIENT, b"question")
    writer.flush()
    run.answer = replace(PLAYED, verdict=Verdict(1, 1, 8, 8, missing="everything after 0.1 s"))
    assert main(["--replay", "-f", str(path), "-", "ask"]) == 0
    assert run.connections == [1]
    assert run.missing[0] != ""
    assert "plg: the dump is torn, it lacks everything after 0.1 s\n" in capsys.readouterr().err
    say(connection, SERVER, b"answer")  # the recording goes on, and was not harmed
    writer.close()
    assert main(["check", str(path)]) == 0


def test_one_dump_may_be_open_twice(run: FakeRun, dump: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = []

    def replay_within(
        plan: Plan,
        options: ReplayOptions,
        recording: Recording,
        narrate: Callable[[str], None],
        *_carried: object,
        **_watched: object,
    ) -> ReplaySummary:
        monkeypatch.setattr(session, "replay", run.replay)
        statuses.append(main(["--replay", "-f", dump, "serve", "-"]))
        return PLAYED

    monkeypatch.setattr(session, "replay", replay_within)
    statuses.append(main(["--replay", "-f", dump, "-", "ask"]))
    assert statuses == [0, 0]


def test_the_report_is_written_after_the_verdict(run: FakeRun, dump: str, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    before = os.umask(0o022)
    try:
        assert main(["--replay", "-f", dump, "--report", str(report), "-", "ask"]) == 0
    finally:
        os.umask(before)
    found = json.loads(report.read_text())
    assert (found["status"], found["connections"], found["bytes_matched"]) == (0, 3, 21)
    assert stat.S_IMODE(report.stat().st_mode) == 0o644


def test_a_report_that_cannot_be_written_is_told_before_anything_runs(
    run: FakeRun, dump: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--replay", "-f", dump, "--report", "/nonexistent/r", "-", "ask"]) == 125
    assert capsys.readouterr().err == "plg: cannot write /nonexistent/r: No such file or directory\n"
    assert main(["--replay", "-f", dump, "--report", dump, "-", "ask"]) == 2
    assert run.plans == []


def test_a_run_that_fails_leaves_no_report(run: FakeRun, dump: str, tmp_path: Path) -> None:
    run.answer = SandboxError("cannot open /dev/net/tun: Permission denied")
    assert main(["--replay", "-f", dump, "--report", str(tmp_path / "r"), "-", "ask"]) == 125
    assert not (tmp_path / "r").exists()
