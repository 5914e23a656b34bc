"""The report of a replay: what stands in it, and how its file comes to be."""

from __future__ import annotations

import json
import os
import resource
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs import needs_root
from netplayground.cli.report_file import check_report, report_of, write_json, write_report
from netplayground.errors import PlaygroundError, UsageError
from netplayground.replay.verdict import Divergence, DivergenceKind, Verdict
from netplayground.session.outcome import ProcessOutcome, RunSummary, Traffic
from netplayground.session.replay import ReplaySummary

DIVERGENCE = Divergence(
    DivergenceKind.DIFFERENT, "app", 7, "app -> db:80", 0, 12, "said 'x'", 5_000, 8, b"GET /\xff", b"GET /x"
)
SUMMARY = ReplaySummary(
    RunSummary(
        (ProcessOutcome("db", 1, "-"), ProcessOutcome("app", 2, "ask \udcff", exit_code=3, ended_ns=1)),
        Traffic(),
        Path("d.traffic"),
        duration_s=1.5,
        has_diverged=True,
    ),
    Verdict(
        connections=4,
        connections_matched=3,
        bytes=100,
        bytes_matched=80,
        divergence_count=1,
        divergences=(DIVERGENCE,),
        notes={"notes of this kind": 2},
    ),
)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_report_has_the_run_and_the_verdict(tmp_path: Path) -> None:
    write_report(tmp_path / "r.json", SUMMARY)
    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report == report_of(SUMMARY)
    assert (report["status"], report["reason"], report["dump"]) == (3, "diverged", "d.traffic")
    assert report["processes"][0]["ended"] == "played from the dump"
    assert report["processes"][1] == {
        "name": "app",
        "position": 2,
        "command": "ask \udcff",
        "ended": "exited 3",
        "status": 3,
    }
    (divergence,) = report["divergences"]
    assert (divergence["kind"], divergence["side"], divergence["offset"]) == ("different", "client", 12)
    assert bytes.fromhex(divergence["expected"]) == b"GET /\xff"
    assert report["notes"] == {"notes of this kind": 2}
    assert (report["connections_matched"], report["connections"]) == (3, 4)


def test_the_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    write_json(tmp_path / "r", {})
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("as it was")
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, former[1]))
    try:
        with pytest.raises(PlaygroundError, match=r"cannot write .*/r: File too large"):
            write_json(path, {"a": "longer than there is room for"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert path.read_text() == "as it was"
    assert [each.name for each in tmp_path.iterdir()] == ["r"]


def test_what_is_no_json_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text("as it was")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == "as it was"
    assert [each.name for each in tmp_path.iterdir()] == ["r"]


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/target")
    check_report(tmp_path / "link", tmp_path / "dump")
    write_json(tmp_path / "link", {"a": 1})
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "folder" / "target").read_text()) == {"a": 1}


def test_a_name_may_be_as_long_as_a_name_may_be(tmp_path: Path) -> None:
    write_json(tmp_path / ("n" * 255), {"a": 1})
    assert json.loads((tmp_path / ("n" * 255)).read_text()) == {"a": 1}


def test_a_device_is_written_to_and_not_replaced() -> None:
    before = os.stat("/dev/null")
    check_report(Path("/dev/null"), Path("dump"))
    write_json(Path("/dev/null"), {})
    assert os.stat("/dev/null").st_ino == before.st_ino
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_gets_the_report(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    check_report(tmp_path / "pipe", tmp_path / "dump")
    write_json(tmp_path / "pipe", {"a": 1})
    assert json.loads(os.read(reader, 1000)) == {"a": 1}
    os.close(reader)


def test_a_descriptor_gets_the_report_and_is_kept_from_the_commands() -> None:
    fd = os.memfd_create("report")
    os.set_inheritable(fd, True)
    check_report(Path(f"/dev/fd/{fd}"), Path("dump"))
    assert not os.get_inheritable(fd)
    write_json(Path(f"/dev/fd/{fd}"), {"a": 1})
    assert json.loads(os.pread(fd, 1000, 0)) == {"a": 1}
    os.close(fd)


def test_a_path_that_can_be_written_passes_and_nothing_is_made(tmp_path: Path) -> None:
    check_report(tmp_path / "new", tmp_path / "dump")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_text("")
    check_report(tmp_path / "old", tmp_path / "dump")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("missing/r", "No such file or directory"),
        ("file/r", "Not a directory"),
        (".", "Is a directory"),
        ("loop", "Too many levels of symbolic links"),
        ("n" * 256, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_told_beforehand(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(PlaygroundError) as caught:
        check_report(tmp_path / name, tmp_path / "dump")
    assert str(caught.value) == f"cannot write {tmp_path / name}: {cause}"
    assert caught.value.exit_status == 125


def test_a_folder_that_is_closed_is_told_beforehand() -> None:
    needs_root()
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others all the way
        folder = Path(name)
        folder.chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(PlaygroundError, match="Permission denied"):
                check_report(folder / "r", folder / "dump")
        finally:
            os.seteuid(0)


def test_the_dump_itself_is_not_the_place_for_its_report(tmp_path: Path) -> None:
    (tmp_path / "dump").write_text("")
    (tmp_path / "also").hardlink_to(tmp_path / "dump")
    for name in ("dump", "also"):
        with pytest.raises(UsageError, match=r"cannot write the report to .*: it is the dump"):
            check_report(tmp_path / name, tmp_path / "dump")


def test_shared_memory_has_files_like_any_folder() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        path = Path(folder, "report.json")
        check_report(path, Path("dump"))
        write_json(path, {"a": 1})
        assert json.loads(path.read_text()) == {"a": 1}
