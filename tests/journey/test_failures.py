"""What cannot be done: one clear line, the right status, nothing left behind (each run looks)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from journey.ordinary import as_nobody
from journey.runs import Ended, Place, plg, python, record, record_command, run, running

from needs import needs_program, needs_root, needs_tun
from netplayground.dump.reader import open_dump

USAGE, CANNOT, NOT_EXECUTABLE, NOT_FOUND = 2, 125, 126, 127


def assert_one_clear_line(ended: Ended, status: int, *words: str) -> None:
    """One line that says it, and no traceback; what plg tells of every run may stand before it."""
    assert ended.status == status, ended
    assert "Traceback" not in ended.stderr, ended
    lines = [line for line in ended.stderr.splitlines() if all(word in line for word in words)]
    assert len(lines) == 1, ended


def test_no_command_is_a_usage_error(place: Place) -> None:
    ended = record(place)
    assert_one_clear_line(ended, USAGE, "COMMAND")
    assert not place.dump.exists()


@pytest.mark.parametrize(
    ("subnet", "word"),
    [
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("ten", "ten"),
        ("10.0.0.0/31", "10.0.0.0/31"),
        ("10.0.0.300/24", "10.0.0.300/24"),
    ],
)
def test_a_subnet_that_is_none_or_too_small(place: Place, subnet: str, word: str) -> None:
    ended = record(place, "true", "true", "true", options=("-s", subnet))
    assert_one_clear_line(ended, USAGE, word)
    assert not place.dump.exists()


@pytest.mark.parametrize(
    "commands",
    [["db: true", "true"], ["db: true", "db: true"]],
    ids=["named and unnamed", "the same name twice"],
)
def test_names_that_do_not_fit_together(place: Place, commands: list[str]) -> None:
    ended = record(place, *commands)
    assert ended.status == USAGE, ended
    assert "Traceback" not in ended.stderr


def test_a_command_that_does_not_exist(place: Place) -> None:
    needs_tun()
    ended = record(place, "there-is-no-such-program")
    assert ended.status == NOT_FOUND, ended
    assert "p1" in ended.last_line


def test_a_command_that_cannot_be_run(place: Place) -> None:
    needs_tun()
    place.file("not-executable", "#!/bin/sh\n")
    ended = record(place, "./not-executable")
    assert ended.status == NOT_EXECUTABLE, ended


def test_a_dump_in_a_folder_that_is_not_there(place: Place) -> None:
    path = place.path / "missing" / "dump"
    ended = run(place, record_command(path, (), [": > ran"]))
    assert_one_clear_line(ended, CANNOT, str(path), "No such file or directory")
    assert not (place.path / "ran").exists()


def test_a_dump_that_is_a_folder(place: Place) -> None:
    ended = run(place, record_command(place.path, (), [": > ran"]))
    assert_one_clear_line(ended, CANNOT, str(place.path))
    assert not (place.path / "ran").exists()


def test_a_dump_that_may_not_be_written(place: Place) -> None:
    user = as_nobody(place)
    place.dump.write_bytes(b"precious")
    place.dump.chmod(0o444)
    ended = record(place, ": > ran", before=user)
    assert_one_clear_line(ended, CANNOT, str(place.dump), "Permission denied")
    assert place.dump.read_bytes() == b"precious"
    assert not (place.path / "ran").exists()


def test_a_dump_that_another_run_writes(place: Place) -> None:
    needs_tun()
    with running(place, record_command(place.dump, (), [": > begun; sleep 77"])) as first:
        while not (place.path / "begun").exists():
            assert first.process.poll() is None, first.ended(first.process.returncode)
        ended = run(place, record_command(place.dump, (), [": > ran"]))
        first_ended = first.stop()
    assert_one_clear_line(ended, CANNOT, str(place.dump))
    assert not (place.path / "ran").exists()
    assert first_ended.status == 0, first_ended
    assert run(place, plg("check", str(place.dump))).status == 0


def test_an_old_dump_survives_a_run_that_cannot_start(place: Place) -> None:
    place.dump.write_bytes(b"precious")
    ended = run(place, _with_device(place, "/dev/null", record_command(place.dump, (), ["true"])))
    assert_one_clear_line(ended, CANNOT, "/dev/net/tun")
    assert place.dump.read_bytes() == b"precious"


def test_a_tun_device_that_is_none(place: Place) -> None:
    ended = run(place, _with_device(place, "/dev/null", record_command(place.dump, (), [": > ran"])))
    assert_one_clear_line(ended, CANNOT, "/dev/net/tun")
    assert not (place.path / "ran").exists()
    assert not place.dump.exists()


def test_a_tun_device_that_an_ordinary_user_may_not_open(place: Place) -> None:
    needs_root()
    ended = record(place, ": > ran", before=as_nobody(place, mode="600"))
    assert_one_clear_line(ended, CANNOT, "/dev/net/tun")
    assert not (place.path / "ran").exists()
    assert not place.dump.exists()


def _with_device(place: Place, other: str, command: Sequence[str]) -> list[str]:
    """The command where something else stands in the place of the TUN device; for this command only."""
    needs_root()
    needs_program("unshare")
    steps = 'mount --bind "$0" /dev/net/tun && exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", steps, other, *command]


def test_a_full_disk_ends_the_run_and_leaves_a_dump_that_reads(place: Place) -> None:
    needs_root()
    needs_tun()
    needs_program("unshare")
    disk = place.path / "disk"
    disk.mkdir()
    dump, kept = disk / "dump", place.path / "kept"
    # The disk is gone with the mount namespace: its dump is copied out first.
    steps = f"""
        mount -t tmpfs -o size=3m tmpfs {disk} || exit 99
        "$@"
        status=$?
        cp {dump} {kept} && exit $status
    """
    commands = [python("talk.py", "sink", 7000), python("talk.py", "pour", "10.0.0.1", 7000, 50 << 20)]
    record_words = record_command(dump, ("--ready", "p1"), commands)
    ended = run(
        place, ["unshare", "--mount", "--propagation", "private", "sh", "-c", steps, "disk", *record_words]
    )
    assert_one_clear_line(ended, CANNOT, str(dump), "No space left on device")
    assert str(dump) in ended.last_line
    with open_dump(kept) as opened:
        assert len(opened.connections) == 1
    assert kept.stat().st_size > 2 << 20
