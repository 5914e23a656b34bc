"""Where something is missing, one sentence says what and how to mend it, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sandbox_stage import Played, ordinary_user, play

from needs import needs_program, needs_root, needs_tun


def in_private_mounts(preparation: str) -> tuple[str, ...]:
    return ("unshare", "-m", "sh", "-c", preparation + ' && exec "$@"', "sh")


NO_TUN = in_private_mounts("mount -t tmpfs none /dev/net")
TUN_CLOSED = in_private_mounts("mount -t tmpfs none /dev/net && mknod -m 600 /dev/net/tun c 10 200")
NO_DEVICE = in_private_mounts("mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 249")
PROC_COVERED = in_private_mounts("mount -t tmpfs none /proc/fs")


def no_user_namespaces(most: int) -> tuple[str, ...]:
    switch = f'echo {most} > /proc/sys/user/max_user_namespaces && exec "$@"'
    return ("unshare", "-Ur", "sh", "-c", switch, "sh")


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    needs_program("unshare")
    return bool(request.param == "root")


def error_of(played: Played) -> str:
    error = played.facts["error"]
    assert isinstance(error, str)
    assert "\n" not in error
    assert "Traceback" not in played.errors
    assert played.output == ""
    return error


def test_missing_tun_device(by_root: bool) -> None:
    error = error_of(play("echo ran", by_root=by_root, own_tun=False, prefix=NO_TUN))
    assert error.startswith("SandboxError: cannot open /dev/net/tun: No such file or directory; ")


def test_tun_device_closed_to_the_user() -> None:
    needs_root()
    needs_tun()
    error = error_of(play("echo ran", by_root=False, own_tun=False, prefix=TUN_CLOSED))
    assert error.startswith("SandboxError: cannot open /dev/net/tun: Permission denied; ")
    assert error.endswith("as root: chmod 666 /dev/net/tun")


def test_tun_device_without_its_module(by_root: bool) -> None:
    error = error_of(play("echo ran", by_root=by_root, own_tun=False, prefix=NO_DEVICE))
    assert "No such device" in error
    assert error.endswith("modprobe tun")


def test_proc_that_a_container_engine_covered(by_root: bool) -> None:
    error = error_of(play("echo ran", "echo ran", by_root=by_root, prefix=PROC_COVERED))
    assert error.startswith("SandboxError: cannot mount a /proc of its own (p")
    assert "systempaths=unconfined" in error


def test_user_namespaces_switched_off() -> None:
    needs_root()
    needs_tun()
    error = error_of(play("echo ran", prefix=no_user_namespaces(0)))
    assert error.startswith(
        "SandboxError: cannot make namespaces: No space left on device; user namespaces are"
    )
    assert error.endswith("as root: sysctl user.max_user_namespaces=15000")


def test_user_namespaces_used_up_amid_the_build() -> None:
    needs_root()
    needs_tun()
    error = error_of(play(*["echo ran"] * 8, prefix=no_user_namespaces(5)))
    assert "too many namespaces" in error


def test_too_few_descriptors(by_root: bool) -> None:
    limit = ("sh", "-c", 'ulimit -n 40; exec "$@"', "sh")
    error = error_of(play(*["echo ran"] * 30, by_root=by_root, prefix=limit))
    assert error.startswith("LimitError: cannot hold the descriptors")
    assert error.endswith("raise the limit on open files (ulimit -n)")


def test_ordinary_user_cannot_run_commands_as_another() -> None:
    needs_root()
    needs_tun()
    error = error_of(play("echo ran", by_root=False, identity={"uid": 1234, "gid": None, "groups": None}))
    assert "only root may" in error


def test_a_second_thread_is_refused(by_root: bool) -> None:
    program = (
        "import threading\n"
        "from netplayground.errors import SandboxError\n"
        "from netplayground.sandbox.proxy import enter_proxy_namespace\n"
        "wait = threading.Event(); thread = threading.Thread(target=wait.wait); thread.start()\n"
        "try: enter_proxy_namespace()\n"
        "except SandboxError as error: print(error)\n"
        "finally: wait.set()\n"
    )
    assert run_python(program, by_root) == (
        "cannot make the proxy namespace: this process has more than one thread\n"
    )


def test_doctor_finds_everything_fine(by_root: bool) -> None:
    findings = doctor(by_root, ())
    assert {need: ok for need, (ok, _, _) in findings.items()} == {
        "TUN device": True,
        "user namespaces": True,
        "AppArmor": True,
        "own /proc": True,
        "playground": True,
        "descriptors": True,
    }


def test_doctor_tells_what_is_missing_and_how_to_mend_it(by_root: bool) -> None:
    findings = doctor(by_root, PROC_COVERED)
    assert findings["TUN device"][0]
    ok, text, remedy = findings["own /proc"]
    assert (ok, text) == (False, "cannot mount a /proc of its own: Operation not permitted")
    assert "systempaths=unconfined" in remedy
    assert not findings["playground"][0]


def doctor(by_root: bool, prefix: tuple[str, ...]) -> dict[str, tuple[bool, str, str]]:
    program = (
        "import json\n"
        "from netplayground.sandbox.doctor import examine\n"
        "print(json.dumps([[f.need, f.ok, f.text, f.remedy] for f in examine()]))\n"
    )
    found = json.loads(run_python(program, by_root, prefix))
    return {need: (ok, text, remedy) for need, ok, text, remedy in found}


def run_python(program: str, by_root: bool, prefix: tuple[str, ...] = ()) -> str:
    command = [*prefix, *(() if by_root else ordinary_user()), sys.executable, "-c", program]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    finished = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=30, cwd="/"
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
