"""What a process finds around it, started by root and by an ordinary user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_stage import ORDINARY_ID, play

from needs import needs_program, needs_root, needs_tun


@pytest.fixture(params=["root", "user"])
def by_root(request: pytest.FixtureRequest) -> bool:
    needs_root()
    needs_tun()
    return bool(request.param == "root")


def test_exit_code_is_told_and_then_that_nothing_is_left(by_root: bool) -> None:
    assert play("exit 7", by_root=by_root).events == [["ProcessExited(code=7, signal=None)", "Gone()"]]


def test_a_signal_that_ends_the_command_is_told(by_root: bool) -> None:
    assert play("kill -ABRT $$", by_root=by_root).events[0][0] == "ProcessExited(code=None, signal=6)"


def test_unknown_program_is_the_shells_127(by_root: bool) -> None:
    assert play("no-such-program", by_root=by_root).events[0][0] == "ProcessExited(code=127, signal=None)"


def test_addresses_and_routes_lead_out_of_the_tun(by_root: bool) -> None:
    needs_program("ip")
    lines = play("ip -br address; ip route; ip -6 route", by_root=by_root).output
    assert "10.0.0.1/24" in lines
    assert "fd00:706c:67::1/64 fe80::1/64" in lines
    assert "default dev tun0" in lines
    assert "lo               UNKNOWN        127.0.0.1/8 ::1/128" in lines


def test_tun_has_the_mtu_and_the_long_queue(by_root: bool) -> None:
    needs_program("ip")
    link = play("ip link show tun0", by_root=by_root).output
    assert "mtu 1500" in link
    assert "qlen 10000" in link


def test_peers_are_known_by_name(by_root: bool) -> None:
    played = play("getent hosts db", "true", by_root=by_root, names=["web", "db"])
    assert played.output.split() == ["fd00:706c:67::2", "db"]


def test_unknown_name_fails_at_once(by_root: bool) -> None:
    played = play("getent hosts nowhere.example; echo $?", by_root=by_root)
    assert played.lines == ["2"]


def test_hostname_is_the_name_of_the_process(by_root: bool) -> None:
    assert play("uname -n", by_root=by_root, names=["web"]).lines == ["web"]


def test_hostname_is_the_hosts_on_request(by_root: bool) -> None:
    assert play("uname -n", by_root=by_root, keep_hostname=True).lines == [os.uname().nodename]


def test_environment_says_who_is_where(by_root: bool) -> None:
    command = "echo $PLG_NAME $PLG_ADDR $PLG_ADDR6 $PLG_ADDR_MY_DB $PLG_ADDR6_MY_DB"
    played = play(command, "true", by_root=by_root, names=["web", "my-db"])
    assert played.lines == ["web 10.0.0.1 fd00:706c:67::1 10.0.0.2 fd00:706c:67::2"]


def test_user_is_who_started_plg(by_root: bool) -> None:
    expected = "0 0" if by_root else f"{ORDINARY_ID} {ORDINARY_ID}"
    assert play("echo $(id -u) $(id -g)", by_root=by_root).lines == [expected]


def test_working_directory_and_files_are_the_hosts(by_root: bool, tmp_path: Path) -> None:
    assert play("pwd; ls -d /proc /etc", by_root=by_root).lines == ["/", "/etc", "/proc"]


def test_descriptors_of_plg_do_not_reach_the_command(by_root: bool) -> None:
    program = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    played = play(f'python3 -c "{program}"', by_root=by_root)
    assert played.lines == ["['0', '1', '2', '3']"]


def test_stdin_of_one_of_several_is_empty(by_root: bool) -> None:
    assert play("readlink /proc/self/fd/0", "true", by_root=by_root).lines == ["/dev/null"]


@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_RAW"])
def test_root_pings_by_either_kind_of_socket(kind: str) -> None:
    needs_root()
    needs_tun()
    program = f"from socket import *; socket(AF_INET, {kind}, IPPROTO_ICMP); print('ok')"
    assert play(f'python3 -c "{program}"').lines == ["ok"]


def test_ordinary_user_may_open_a_ping_socket() -> None:
    needs_root()
    needs_tun()
    program = (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); print('ok')"
    )
    assert play(f'python3 -c "{program}"', by_root=False).lines == ["ok"]


def test_low_ports_can_be_bound(by_root: bool) -> None:
    program = "import socket; s = socket.socket(); s.bind(('', 80)); s.listen(); print('ok')"
    assert play(f'python3 -c "{program}"', by_root=by_root).lines == ["ok"]


def test_another_user_with_his_groups() -> None:
    needs_root()
    needs_tun()
    identity = {"uid": 1234, "gid": 2345, "groups": [2345, 3456]}
    played = play("id -u; id -g; id -G; grep CapEff /proc/self/status", identity=identity)
    assert played.lines == ["1234", "2345", "2345 3456", "CapEff:\t0000000000000000"]


def test_root_may_still_change_owners_and_users(tmp_path: Path) -> None:
    needs_root()
    needs_tun()
    file = tmp_path / "file"
    file.touch()
    needs_program("setpriv")
    command = f"chown 1234 {file} && setpriv --reuid 1234 --clear-groups id -u"
    assert play(command).lines == ["1234"]
    assert file.stat().st_uid == 1234


@pytest.fixture
def socket_path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "socket"


def test_listeners_are_seen_from_outside(by_root: bool, socket_path: Path) -> None:
    ready = socket_path.with_name("ready")
    program = (
        "import socket, time; a = socket.create_server(('10.0.0.1', 4321)); "
        "b = socket.create_server(('::', 80), family=socket.AF_INET6); "
        f"c = socket.socket(socket.AF_UNIX); c.bind('{socket_path}'); c.listen(); "
        f"open('{ready}', 'w'); time.sleep(60)"
    )
    played = play(f'exec python3 -c "{program}"', by_root=by_root, when=str(ready), act="look")
    assert played.facts["listening"] == [["10.0.0.1", 4321], ["::", 80]]
    assert played.facts["unix"] == [str(socket_path)]
    assert played.facts["dropped"] >= 0


def test_a_hundred_processes_stand_soon(by_root: bool) -> None:
    played = play(*["true"] * 100, by_root=by_root)
    assert [events[0] for events in played.events] == ["ProcessExited(code=0, signal=None)"] * 100
    # The promise is 2 s on two idle cores; a test machine is seldom idle.
    assert played.facts["build_s"] < 10
    assert played.facts["close_s"] < 2
