from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from netplayground.sandbox import files


def mount(point: str, kind: str) -> str:
    return f"36 35 98:0 /root {point} rw,noatime master:1 shared:2 - {kind} source rw,errors=continue\n"


def test_hosts_name_every_process_at_each_of_its_addresses() -> None:
    assert files.emit_hosts([("db", ["10.0.0.1", "fd00::1"]), ("web", ["10.0.0.2"])]) == (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "10.0.0.1\tdb\n"
        "fd00::1\tdb\n"
        "10.0.0.2\tweb\n"
    )


def test_kernel_file_systems_are_found_wherever_they_are() -> None:
    mountinfo = (
        mount("/", "ext4")
        + mount("/sys", "sysfs")
        + mount("/srv/chroot/proc", "proc")
        + mount("/home", "ext4")
    )
    assert files.kernel_mounts(mountinfo) == ["/sys", "/srv/chroot/proc"]


def test_proc_itself_and_what_is_below_it_are_left_out() -> None:
    mountinfo = mount("/proc", "proc") + mount("/proc/sys/fs/binfmt_misc", "binfmt_misc")
    assert files.kernel_mounts(mountinfo) == []


def test_what_is_below_another_is_left_out() -> None:
    mountinfo = mount("/sys", "sysfs") + mount("/sys/fs/cgroup", "cgroup2") + mount("/system", "sysfs")
    assert files.kernel_mounts(mountinfo) == ["/sys", "/system"]


def test_a_mount_without_optional_fields_is_understood() -> None:
    assert files.kernel_mounts("36 35 98:0 / /sys rw - sysfs sysfs rw\n") == ["/sys"]


def test_escaped_mount_points_are_unescaped() -> None:
    assert files.kernel_mounts(mount(r"/a\040b\134c", "sysfs")) == [r"/a b\c"]


@given(
    st.text(st.characters(exclude_characters=" \t\n\\", exclude_categories=["Zs", "Zl", "Zp", "Cc", "Cs"]))
)
def test_any_name_of_a_mount_point_comes_back(name: str) -> None:
    assert files.kernel_mounts(mount(f"/{name}", "sysfs")) in ([f"/{name}"], [])


def test_the_mounts_of_this_machine_can_be_read() -> None:
    assert "/proc" not in files.kernel_mounts(Path("/proc/self/mountinfo").read_text())


def test_doors_to_the_kernel_are_told_from_processes(tmp_path: Path) -> None:
    for directory in ("1", "sys", "pressure"):
        (tmp_path / directory).mkdir()
    for name, mode in (("mtrr", 0o644), ("cpuinfo", 0o444), ("sysrq-trigger", 0o200)):
        (tmp_path / name).touch(mode)
    (tmp_path / "self").symlink_to("1")
    doors = sorted(files.doors_to_the_kernel(str(tmp_path)))
    assert doors == [str(tmp_path / name) for name in ("mtrr", "sys", "sysrq-trigger")]
