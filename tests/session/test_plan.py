"""Command line words to a plan: what is taken, and what is refused with which words."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.errors import UsageError
from netplayground.session.plan import (
    Caller,
    Plan,
    ReadyRule,
    RecordOptions,
    User,
    name_commands,
    parse_identity,
    parse_ready,
    parse_signal,
    parse_subnet,
    plan_record,
)

OPTIONS = RecordOptions(dump_path=Path("dump.traffic"))
USERS = {"root": User(0, 0), 0: User(0, 0), "postgres": User(105, 110), 105: User(105, 110)}
GROUPS = {"root": 0, "ssl-cert": 111}


def find_user(name: str | int) -> User:
    return USERS[name]


def find_group(name: str) -> int:
    return GROUPS[name]


ROOT = Caller(0, 0, find_user, find_group)
ORDINARY = Caller(105, 110, find_user, find_group)


def plan(*commands: str, options: RecordOptions = OPTIONS) -> Plan:
    return plan_record(options, commands, ROOT)


def refusal(*commands: str, options: RecordOptions = OPTIONS) -> str:
    with pytest.raises(UsageError) as caught:
        plan_record(options, commands, ROOT)
    assert caught.value.exit_status == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Names


def test_unnamed_commands_are_named_by_position() -> None:
    assert name_commands(["a", "b -x"]) == [("p1", "a"), ("p2", "b -x")]


def test_names_as_in_a_procfile() -> None:
    assert name_commands(["db: postgres -D data", "web_1-a:  nginx"]) == [
        ("db", "postgres -D data"),
        ("web_1-a", " nginx"),
    ]


@pytest.mark.parametrize(
    "command", ["1db: x", "db:x", "d b: x", "_a: x", "a" * 64 + ": x", "curl http://a:80/", ""]
)
def test_what_is_no_name_is_part_of_the_command(command: str) -> None:
    if command:
        assert name_commands([command]) == [("p1", command)]
    else:
        with pytest.raises(UsageError, match="p1: the command is empty"):
            name_commands([command])


def test_a_command_may_have_several_lines() -> None:
    assert name_commands(["db: a\nb"]) == [("db", "a\nb")]


def test_a_name_of_63_characters_is_the_longest() -> None:
    assert name_commands([f"{'a' * 63}: x"]) == [("a" * 63, "x")]


def test_no_command_is_refused() -> None:
    assert refusal() == "cannot start a run: no COMMAND is given"


def test_names_and_none_do_not_mix_and_the_message_lists_both() -> None:
    message = refusal("db: postgres", "psql", "web: nginx", "curl x")
    assert message == (
        "cannot mix named and unnamed commands: db, web named, without a name 'psql', 'curl x'"
    )


@pytest.mark.parametrize(
    ("names", "clash"),
    [
        (["db", "web", "db"], "db"),
        (["db", "web", "db", "web"], "db, web"),
        (["Db", "db"], "Db and db"),
        (["a-b", "a_b"], "a-b and a_b"),
        (["a", "b", "a"], "a"),
    ],
)
def test_duplicates_are_refused_and_listed(names: list[str], clash: str) -> None:
    message = refusal(*(f"{name}: x" for name in names))
    assert message == f"cannot tell processes apart: {clash} is given twice"


def test_nobody_is_localhost() -> None:
    assert "cannot name a process localhost" in refusal("localhost: x")


@pytest.mark.parametrize("command", ["", "  ", "db: ", "db:  "])
def test_an_empty_command_is_refused(command: str) -> None:
    assert "the command is empty" in refusal(command)


def test_canned_processes_need_a_replay() -> None:
    assert refusal("-", "x") == "cannot record p1: only a replay plays a process ('-') from a dump"


@given(st.lists(st.text(), max_size=5))
def test_any_commands_are_named_once_each_or_refused(commands: list[str]) -> None:
    try:
        pairs = name_commands(commands)
    except UsageError:
        return
    assert len(pairs) == len(commands)
    assert len({name for name, _ in pairs}) == len(pairs)


# Addresses


def test_process_n_has_the_nth_address_of_both_families() -> None:
    made = plan(*["true"] * 20)
    assert made.subnet == IPv4Network("10.0.0.0/24")
    assert [process.position for process in made.processes] == list(range(1, 21))
    assert made.processes[0].address4 == IPv4Address("10.0.0.1")
    assert made.processes[19].address4 == IPv4Address("10.0.0.20")
    assert made.processes[0].address6 == IPv6Address("fd00:706c:67::1")
    assert made.processes[19].address6 == IPv6Address("fd00:706c:67::14")


@pytest.mark.parametrize(
    ("subnet", "room"), [("10.0.0.0/24", 254), ("10.1.2.0/30", 2), ("10.1.2.2/31", 2), ("10.1.2.3/32", 1)]
)
def test_a_subnet_holds_so_many_and_no_more(subnet: str, room: int) -> None:
    options = replace(OPTIONS, subnet=subnet)
    made = plan(*["true"] * room, options=options)
    assert all(process.address4 in IPv4Network(subnet) for process in made.processes)
    message = refusal(*["true"] * (room + 1), options=options)
    assert message == f"cannot use subnet {subnet}: {room + 1} processes, room for {room}"


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0/33", "10.0.0/24", "x", "10.0.0.0/", "10.0.0.0/24/8", "10.0.0.256/8"]
)
def test_a_malformed_subnet_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not like 10\.0\.0\.0/24"):
        parse_subnet(text)


def test_host_bits_are_refused_with_what_was_meant() -> None:
    with pytest.raises(UsageError) as caught:
        parse_subnet("10.0.0.5/24")
    assert str(caught.value) == "cannot use subnet 10.0.0.5/24: host bits are set; 10.0.0.0/24 is meant?"


def test_the_ipv6_prefix_is_fixed() -> None:
    with pytest.raises(UsageError, match="always fd00:706c:67::/64"):
        parse_subnet("fd00::/64")


@pytest.mark.parametrize("text", ["127.0.0.0/8", "127.5.0.0/16", "0.0.0.0/0", "224.0.0.0/24", "240.0.0.0/8"])
def test_addresses_the_kernel_does_not_route_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot use subnet"):
        parse_subnet(text)


@given(st.text())
def test_any_text_is_a_subnet_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert isinstance(parse_subnet(text), IPv4Network)


@given(st.integers(0, 2**32 - 1), st.integers(0, 32))
def test_every_usable_subnet_comes_back_as_itself(number: int, prefix: int) -> None:
    subnet = IPv4Network((number, prefix), strict=False)
    try:
        assert parse_subnet(str(subnet)) == subnet
    except UsageError as error:
        assert " is " in str(error)


# Signals, users, seconds


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "term", "sigterm", "15"])
def test_a_signal_by_name_or_number(text: str) -> None:
    assert parse_signal(text) == signal.SIGTERM


def test_a_real_time_signal_by_number() -> None:
    assert parse_signal("40") == 40


@pytest.mark.parametrize("text", ["", "0", "-1", "65", "999", "NOPE", "SIG", "TERM ", "15.0", "²"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not like TERM, SIGTERM or 15"):
        parse_signal(text)


@given(st.text())
def test_any_text_is_a_signal_or_a_usage_error(text: str) -> None:
    with suppress(UsageError):
        assert parse_signal(text) in signal.valid_signals()


@pytest.mark.parametrize(
    ("uid", "gid", "expected"),
    [
        (None, None, (None, None)),
        ("postgres", None, (105, 110)),
        ("105", None, (105, 110)),
        ("postgres", "ssl-cert", (105, 111)),
        ("12345", None, (12345, 0)),
        (None, "7", (None, 7)),
    ],
)
def test_user_and_group_by_name_or_number(
    uid: str | None, gid: str | None, expected: tuple[int | None, int | None]
) -> None:
    assert parse_identity(uid, gid, ROOT) == expected


@pytest.mark.parametrize(
    ("uid", "gid", "words"),
    [
        ("nosuch", None, "cannot find user 'nosuch'"),
        (None, "nosuch", "cannot find group 'nosuch'"),
        ("-1", None, "cannot find user '-1'"),
        ("4294967295", None, "cannot use --uid 4294967295: out of range"),
        (None, "99999999999", "cannot use --gid 99999999999: out of range"),
    ],
)
def test_a_user_or_group_that_cannot_be(uid: str | None, gid: str | None, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_identity(uid, gid, ROOT)
    assert str(caught.value) == words


def test_an_ordinary_user_may_name_only_himself() -> None:
    assert parse_identity("postgres", None, ORDINARY) == (105, 110)
    for uid, gid in (("root", None), (None, "root"), ("postgres", "ssl-cert")):
        with pytest.raises(UsageError, match="only root may"):
            parse_identity(uid, gid, ORDINARY)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grace_s": -1.0}, "cannot use --grace -1"),
        ({"grace_s": float("nan")}, "cannot use --grace nan"),
        ({"timeout_s": 0.0}, "cannot use --timeout 0"),
        ({"timeout_s": float("inf")}, "cannot use --timeout inf"),
        ({"timeout_s": -2.0}, "cannot use --timeout -2"),
        ({"mtu": 1279}, "cannot use --mtu 1279: not from 1280 to 65535"),
        ({"mtu": 65536}, "cannot use --mtu 65536"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, float], words: str) -> None:
    assert refusal("true", options=replace(OPTIONS, **change)).startswith(words)  # type: ignore[arg-type]


# --ready and --until


def test_ready_with_and_without_a_port() -> None:
    assert parse_ready("db", ["db"]) == ReadyRule("db", None)
    assert parse_ready("db:5432", ["db"]) == ReadyRule("db", 5432)


@pytest.mark.parametrize("text", ["db:", "db:x", "db:1:2", ":80", "", "db:123456", "db:٣"])
def test_what_is_no_ready_rule_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not like NAME or NAME:PORT"):
        parse_ready(text, ["db"])


@pytest.mark.parametrize("port", ["0", "65536"])
def test_a_port_out_of_range_is_refused(port: str) -> None:
    with pytest.raises(UsageError, match=f"port {port} is not from 1 to 65535"):
        parse_ready(f"db:{port}", ["db"])


@pytest.mark.parametrize("option", ["ready", "until"])
def test_an_unknown_name_is_refused_and_the_known_are_listed(option: str) -> None:
    message = refusal("db: x", "web: y", options=replace(OPTIONS, **{option: ("nope",)}))  # type: ignore[arg-type]
    assert message == f"cannot use --{option} nope: no such process; there is db, web"


def test_given_twice_is_once() -> None:
    made = plan("a: x", "b: y", options=replace(OPTIONS, ready=("a", "a", "a:1"), until=("b", "b")))
    assert made.ready == (ReadyRule("a", None), ReadyRule("a", 1))
    assert made.until == ("b",)


def test_a_process_awaits_the_ready_processes_before_it_only() -> None:
    made = plan("a: x", "b: x", "c: x", "d: x", options=replace(OPTIONS, ready=("c", "a:80")))
    a, c = ReadyRule("a", 80), ReadyRule("c", None)
    assert [set(made.awaited_by(process)) for process in made.processes] == [set(), {a}, {a}, {a, c}]


def test_without_ready_nobody_waits() -> None:
    made = plan("x", "y")
    assert all(made.awaited_by(process) == () for process in made.processes)


def test_options_come_through() -> None:
    options = replace(OPTIONS, kill_signal="INT", grace_s=1.5, timeout_s=9.0, mtu=9000, keep_hostname=True)
    made = plan("x", options=replace(options, verbosity=2, debug=True))
    assert (made.kill_signal, made.grace_s, made.timeout_s, made.mtu) == (signal.SIGINT, 1.5, 9.0, 9000)
    assert (made.keep_hostname, made.verbosity, made.debug) == (True, 2, True)
    assert made.dump_path == Path("dump.traffic")
