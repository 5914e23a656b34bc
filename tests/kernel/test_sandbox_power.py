"""What a command cannot do, even as root: each is tried, outright and from a user namespace made inside."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_stage import play

from needs import needs_program, needs_root, needs_tun

CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
NESTINGS = ["", "unshare -Ur ", "unshare -Urm ", "unshare -Urpf ", "unshare -Urpf --mount-proc "]

pytestmark = pytest.mark.usefixtures("real_root")


@pytest.fixture
def real_root() -> None:
    needs_root()
    needs_tun()
    needs_program("unshare", "ip", "mount", "umount")


@pytest.fixture
def core_pattern() -> Iterator[str]:
    """The host's, put back in case a test shows that it could be changed."""
    before = CORE_PATTERN.read_text()
    yield before
    if CORE_PATTERN.read_text() != before:
        CORE_PATTERN.write_text(before)


def refused(command: str) -> bool:
    """Whether the command, run inside as root, says that it failed."""
    played = play(f"({command}) >/dev/null 2>&1 && echo done || echo refused")
    assert played.lines in (["done"], ["refused"])
    return played.lines == ["refused"]


def nested(nesting: str, command: str) -> str:
    return f"{nesting}sh -c {shlex.quote(command)}" if nesting else command


@pytest.mark.parametrize("nesting", NESTINGS)
def test_core_pattern_cannot_be_written(nesting: str, core_pattern: str) -> None:
    assert refused(nested(nesting, f"echo '|/bin/evil' > {CORE_PATTERN}"))
    assert CORE_PATTERN.read_text() == core_pattern


@pytest.mark.parametrize("nesting", NESTINGS)
def test_core_pattern_cannot_be_reached_by_taking_mounts_away(nesting: str, core_pattern: str) -> None:
    undo = "umount -l /proc/sys; umount -l /proc; umount -l /proc; mount -o remount,rw,bind /proc/sys"
    assert refused(nested(nesting, f"{undo}; echo '|/bin/evil' > {CORE_PATTERN}"))
    assert CORE_PATTERN.read_text() == core_pattern


@pytest.mark.parametrize("nesting", NESTINGS)
def test_no_fresh_proc_shows_kernel_settings(nesting: str, core_pattern: str, tmp_path: Path) -> None:
    fresh = f"mount -t proc proc {tmp_path}; echo '|/bin/evil' > {tmp_path}/sys/kernel/core_pattern"
    assert refused(nested(nesting, fresh))
    assert CORE_PATTERN.read_text() == core_pattern


def test_another_mount_of_proc_is_read_only_too(core_pattern: str, tmp_path: Path) -> None:
    prepare = f'mount -t proc proc {tmp_path} && exec "$@"'
    played = play(
        f"echo '|/bin/evil' > {tmp_path}/sys/kernel/core_pattern && echo done || echo refused",
        prefix=("unshare", "-m", "sh", "-c", prepare, "sh"),
    )
    assert played.lines == ["refused"]
    assert CORE_PATTERN.read_text() == core_pattern


def test_sysrq_cannot_be_triggered() -> None:
    # An unknown key does nothing but print a help text to the kernel's log, should this succeed.
    assert refused("echo % > /proc/sysrq-trigger")


@pytest.mark.parametrize("nesting", NESTINGS)
def test_files_of_sys_cannot_be_written(nesting: str) -> None:
    switch = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    file = switch if switch.exists() else Path("/sys/kernel/profiling")
    undo = "mount -o remount,rw,bind /sys"
    assert refused(nested(nesting, f"{undo}; test -w {file} && head -c 0 /dev/null >> {file}"))


def test_control_groups_cannot_be_changed() -> None:
    assert refused("mkdir /sys/fs/cgroup/plg-test || mkdir /sys/fs/cgroup/pids/plg-test")


@pytest.mark.parametrize(
    "change",
    [
        "ip address add 10.0.0.77/24 dev tun0",
        "ip address del 10.0.0.1/24 dev tun0",
        "ip route add 192.0.2.0/24 dev lo",
        "ip route del default",
        "ip link set tun0 down",
        "ip link set tun0 mtu 1280",
        "ip rule add to 192.0.2.0/24 table 7",
    ],
)
@pytest.mark.parametrize("nesting", ["", "unshare -Ur ", "unshare -Urm "])
def test_network_cannot_be_changed(nesting: str, change: str) -> None:
    assert refused(nested(nesting, change))


def test_a_network_made_inside_leads_nowhere() -> None:
    played = play("unshare -Urn sh -c 'ip address add 10.0.0.77/24 dev lo && ip -br link'; ip -br address")
    inside, *outside = played.lines
    assert inside.startswith("lo ")
    assert "10.0.0.77" not in "".join(outside)
    assert "tun0" in "".join(outside)


@pytest.mark.parametrize("device", ["tun0", "tun1"])
def test_no_tun_can_be_taken_or_made(device: str) -> None:
    program = (
        "import fcntl, os, struct; d = os.open('/dev/net/tun', os.O_RDWR); "
        f"fcntl.ioctl(d, 0x400454ca, struct.pack('16sH22x', b'{device}', 0x5001))"
    )
    assert refused(f'python3 -c "{program}"')


def test_nothing_of_the_kernels_in_proc_can_be_written() -> None:
    aside = "-path '/proc/[0-9]*' -prune -o -path /proc/pressure -prune -o -path /proc/sys/net -prune"
    found = f"find /proc {aside} -o -type f -perm /222 -writable -print"
    assert play(f"{found} 2>/dev/null").lines == []


@pytest.mark.parametrize(
    "attempt",
    [
        "mount --bind /etc/hosts /etc/hostname",
        "mount -t tmpfs none /mnt",
        "umount /etc/hosts",
        "umount -l /proc",
        "unshare -m true",
        "unshare -n true",
        "unshare -u true",
        "hostname other",
        "nsenter -t 1 -m true",
        "chroot / mount -t tmpfs none /mnt",
        "mknod /tmp/plg-test-node c 1 1",
    ],
)
def test_power_over_mounts_and_namespaces_is_gone(attempt: str) -> None:
    assert refused(attempt)


@pytest.mark.parametrize("nesting", ["unshare -Urm ", "unshare -Urpf "])
def test_mounts_made_inside_stay_inside(nesting: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("ours")
    command = nested(nesting, f"mount --bind /etc/passwd {file}; cat {file}") + f"; cat {file}"
    assert play(command).output.endswith("ours")
    assert file.read_text() == "ours"


@pytest.mark.parametrize("nesting", NESTINGS)
def test_processes_outside_cannot_be_seen_or_signalled(nesting: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            # Its number inside belongs to nobody: the numbers there are small.
            assert refused(nested(nesting, f"kill -0 {bystander.pid}"))
            assert refused(nested(nesting, f"test -e /proc/{bystander.pid}"))
        finally:
            assert bystander.poll() is None
            bystander.kill()


def test_only_its_own_processes_are_in_proc() -> None:
    assert play("true; ls /proc | grep -c '^[0-9]'").lines[0] in ("3", "4")


def test_pid_1_cannot_be_killed_stopped_or_looked_into() -> None:
    attempts = "kill -9 1; kill -STOP 1; kill -TERM 1; kill -INT 1; kill -CHLD 1; kill -HUP 1"
    looks = "ls /proc/1/root/ || readlink /proc/1/fd/0 || cat /proc/1/environ || head -c 1 /proc/1/mem"
    played = play(f"{attempts}; {looks} || echo refused; exit 5")
    assert played.lines == ["refused"]
    assert played.events == [["ProcessExited(code=5, signal=None)", "Gone()"]]


def test_pid_1_cannot_be_traced() -> None:
    program = (
        "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True); "
        "sys.exit(0 if libc.ptrace(0x4206, 1, None, None) == 0 else 1)"
    )
    assert refused(f"{sys.executable} -c {shlex.quote(program)}")


def test_capabilities_are_the_promised_ones() -> None:
    played = play("grep -E 'Cap(Prm|Eff|Bnd|Inh|Amb)' /proc/self/status")
    assert played.lines == [
        "CapInh:\t0000000000000000",
        "CapPrm:\t00000000800425fb",
        "CapEff:\t00000000800425fb",
        "CapBnd:\t00000000800425fb",
        "CapAmb:\t0000000000000000",
    ]


def test_another_users_command_has_no_capability_to_gain() -> None:
    played = play(
        "grep -E 'Cap(Prm|Eff)' /proc/self/status; cat /proc/1/environ || echo refused",
        identity={"uid": 1234, "gid": 1234, "groups": [1234]},
    )
    assert played.lines == ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "refused"]


def test_ordinary_user_gets_no_power_from_plg(core_pattern: str) -> None:
    played = play(
        f"ip address add 10.0.0.77/24 dev tun0 || mount -t tmpfs none /mnt || echo x > {CORE_PATTERN} "
        "|| cat /proc/1/environ || unshare -Ur ip link set tun0 down || echo refused",
        by_root=False,
    )
    assert played.lines == ["refused"]


def test_host_is_as_before() -> None:
    def host() -> tuple[str, list[str], str]:
        mounts = Path("/proc/self/mountinfo").read_text()
        tuns = [name for name in os.listdir("/sys/class/net") if name.startswith("tun")]
        return mounts, tuns, Path("/etc/hosts").read_text() + Path("/etc/resolv.conf").read_text()

    before = host()
    play("true", "true")
    play("true", "true", by_root=False)
    assert host() == before
