"""Names lead to peers, whatever the host has for them; nothing of the host answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from sandbox_stage import play

from needs import needs_program, needs_root, needs_tun


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    needs_program("unshare", "getent")
    return bool(request.param == "root")


def with_etc(directory: Path, change: str) -> tuple[str, ...]:
    """A machine whose /etc is a small copy, changed; `$D` is the directory that holds it."""
    copy = (
        "mkdir $D/etc && cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache /etc/hosts $D/etc"
    )
    script = f'D={directory}; {copy} && {change} && mount --bind $D/etc /etc && exec "$@"'
    return ("unshare", "-m", "sh", "-c", script, "sh")


def test_a_missing_resolv_conf_stays_missing(by_root: bool, tmp_path: Path) -> None:
    played = play(
        "ls /etc/resolv.conf 2>/dev/null; getent hosts p1; getent hosts nowhere.example; echo $?",
        by_root=by_root,
        prefix=with_etc(tmp_path, "true"),
    )
    assert [line.split()[-1] for line in played.lines] == ["p1", "2"]


def test_a_dangling_resolv_conf_is_left_alone(by_root: bool, tmp_path: Path) -> None:
    prefix = with_etc(tmp_path, "ln -s /nowhere/stub.conf $D/etc/resolv.conf")
    assert play("readlink /etc/resolv.conf", by_root=by_root, prefix=prefix).lines == ["/nowhere/stub.conf"]


def test_a_resolv_conf_behind_a_link_is_covered_where_it_is(by_root: bool, tmp_path: Path) -> None:
    change = "echo nameserver 192.0.2.1 > $D/stub.conf && ln -s $D/stub.conf $D/etc/resolv.conf"
    command = "cat /etc/resolv.conf; readlink /etc/resolv.conf"
    played = play(command, by_root=by_root, prefix=with_etc(tmp_path, change))
    assert "192.0.2.1" not in played.output
    assert played.lines[-1] == f"{tmp_path}/stub.conf"
    assert (tmp_path / "stub.conf").read_text() == "nameserver 192.0.2.1\n"


def test_missing_hosts_are_no_hindrance(by_root: bool, tmp_path: Path) -> None:
    played = play("echo ran", by_root=by_root, prefix=with_etc(tmp_path, "rm $D/etc/hosts"))
    assert played.lines == ["ran"]


@pytest.mark.parametrize("service", ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"])
def test_name_services_of_the_host_are_out_of_reach(by_root: bool, service: str) -> None:
    bind = (
        f"import os, socket; os.makedirs(os.path.dirname('{service}')); "
        f"s = socket.socket(socket.AF_UNIX); s.bind('{service}'); os.chmod('{service}', 0o666)"
    )
    script = f'mount -t tmpfs -o mode=755 none /run && python3 -c "{bind}" && exec "$@"'
    played = play(
        f"test -S {service} && echo socket || echo covered; test -e {service} && echo there",
        by_root=by_root,
        prefix=("unshare", "-m", "sh", "-c", script, "sh"),
    )
    assert played.lines == ["covered", "there"]


def test_root_without_power_over_namespaces_works_as_an_ordinary_user() -> None:
    needs_root()
    needs_tun()
    needs_program("setpriv")
    played = play(
        "id -u; cat /proc/self/uid_map", prefix=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all")
    )
    assert played.output.split() == ["0", "0", "0", "1"]
