"""What plg writes appears whole or not at all: on a full disk, where it may not write, when it is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from dump.making import opened, say, writing
from journey.ordinary import as_nobody
from journey.runs import Ended, Place, plg, run

from needs import needs_program, needs_root
from netplayground.cli.main import main
from netplayground.dump.model import SERVER

DEADLINE_S = 60.0
WRITERS = {
    "report": "report {dump} -o {out}",
    "redact": "redact {dump} -o {out} --pattern secret",
    "pcap": "export {dump} -o {out}.pcap",
    "json": "export {dump} --json -o {out}",
    "streams": "export {dump} -o {folder}/",
    "tables": "export {dump} -o {folder}/ --parquet",
    "import": "import {capture} -f {out}",
}


def words(name: str, place: Place, folder: Path) -> list[str]:
    where = {"dump": place.dump, "capture": place.path / "capture.pcap"}
    return WRITERS[name].format(out=folder / "out", folder=folder, **where).split()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A dump of 4 MiB in chunks of 1 KiB, which cannot be packed, and a capture of the same."""
    folder = tmp_path_factory.mktemp("said")
    chance = random.Random(1)
    with writing(folder / "dump") as writer:
        talk = opened(writer)
        for _ in range(4 << 10):
            say(talk, SERVER, chance.randbytes(1 << 10))
        talk.fin(0)
        talk.fin(1)
    assert main(["export", str(folder / "dump"), "-o", str(folder / "c.pcap")]) == 0
    return (folder / "dump").read_bytes(), (folder / "c.pcap").read_bytes()


@pytest.fixture
def filled(place: Place, said: tuple[bytes, bytes]) -> Place:
    """Has both, which nobody else may read."""
    for name, octets in zip((place.dump.name, "capture.pcap"), said, strict=True):
        place.file(name, octets).chmod(0o600)
    place.folder("folder")
    return place


def in_private(place: Place, mount: str, command: Sequence[str]) -> Ended:
    """Run where the folder is another one; what is in it after the command's end, stdout says."""
    needs_root()
    needs_program("unshare", "mount")
    after = 'status=0; "$@" || status=$?; find folder -mindepth 1 | sort; exit $status'
    script = f'{mount}; cd "$0"; {after}'
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, str(place.path)]
    return run(place, [*private, *command], deadline_s=DEADLINE_S)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_what_was_there(filled: Place, name: str) -> None:
    folder = filled.path / "folder"
    mount = f"mount -t tmpfs -o size=128k tmpfs {folder}; echo before > {folder}/out"
    ended = in_private(filled, mount, plg(*words(name, filled, folder)))
    assert ended.status == 125 and ended.stdout == "folder/out\n", ended
    assert ended.stderr.startswith("plg: cannot write ") and ended.stderr.count("\n") == 1, ended
    assert ": No space left on device\n" in ended.stderr, ended


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_read_only_is_one_sentence(filled: Place, name: str) -> None:
    folder = filled.path / "folder"
    mount = f"mount --bind {folder} {folder}; mount -o remount,ro,bind {folder}"
    ended = in_private(filled, mount, plg(*words(name, filled, folder)))
    assert ended.status == 125 and ended.stdout == "", ended
    assert ended.stderr.startswith("plg: cannot write ") and ended.stderr.count("\n") == 1, ended
    assert ended.stderr.endswith(": Read-only file system\n"), ended


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name
)
@pytest.mark.parametrize("name", WRITERS)
def test_who_is_stopped_in_the_midst_leaves_nothing(filled: Place, name: str, number: signal.Signals) -> None:
    folder = filled.path / "folder"
    command = plg(*words(name, filled, folder))
    with subprocess.Popen(
        command, env=filled.environment(), cwd=filled.path, stderr=subprocess.PIPE, text=True
    ) as writer:
        deadline = time.monotonic() + DEADLINE_S
        while not _is_writing(writer.pid, folder):
            assert writer.poll() is None and time.monotonic() < deadline, writer.communicate()
            time.sleep(0.002)
        writer.send_signal(number)
        _, complaint = writer.communicate(timeout=DEADLINE_S)
    assert writer.returncode == (130 if number == signal.SIGINT else -number), complaint
    assert complaint == ("plg: interrupted\n" if number == signal.SIGINT else "")
    assert os.listdir(folder) == []


def _is_writing(pid: int, folder: Path) -> bool:
    """Whether a process has a file open in a folder: one that has no name there yet."""
    descriptors = Path(f"/proc/{pid}/fd")
    try:
        return any(os.readlink(each).startswith(f"{folder}/") for each in descriptors.iterdir())
    except FileNotFoundError:  # a descriptor was closed while it was looked at
        return False


def test_an_ordinary_user_is_told_what_he_may_not(filled: Place) -> None:
    needs_root()
    user = as_nobody(filled)
    folder = filled.path / "folder"
    for name in WRITERS:
        said = denied(filled, user, words(name, filled, folder))
        assert said.startswith(("plg: cannot open ", "plg: cannot read ")), said
    folder.chmod(0o755)
    filled.dump.chmod(0o644)
    (filled.path / "capture.pcap").chmod(0o644)
    for name in WRITERS:
        said = denied(filled, user, words(name, filled, folder))
        assert said.startswith("plg: cannot write "), said
    denied(filled, user, ["--record", "-f", str(folder / "out"), "true"])
    assert os.listdir(folder) == []
    folder.chmod(0o777)
    for _ in range(2):  # a new file, and one in the place of another
        ended = run(filled, [*user, *plg(*words("import", filled, folder))], deadline_s=DEADLINE_S)
        assert ended.status == 0 and os.listdir(folder) == ["out"], ended


def denied(place: Place, user: Sequence[str], command: Sequence[str]) -> str:
    ended = run(place, [*user, *plg(*command)], deadline_s=DEADLINE_S)
    assert ended.status == 125 and ended.stderr.count("\n") == 1, ended
    assert ended.stderr.endswith(": Permission denied\n"), ended
    return ended.stderr
