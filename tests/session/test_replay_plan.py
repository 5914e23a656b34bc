"""The words of a replay's command line, against the recording that is to be played."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.dump.model import Process
from netplayground.errors import UsageError
from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.session.plan import Caller, Plan, RecordOptions, User
from netplayground.session.replay_plan import ReplayWords, changed_addresses, plan_pace, plan_replay

OPTIONS = RecordOptions(dump_path=Path("dump.traffic"))
ROOT = Caller(0, 0, lambda _name: User(0, 0), lambda _name: 0)
RECORDED = tuple(
    Process(
        name,
        n,
        (IPv4Address(f"10.0.0.{n}"), IPv6Address(f"fd00:706c:67::{n}"), IPv6Address(f"fe80::{n}")),
        "",
    )
    for n, name in enumerate(("db", "web", "test"), 1)
)


def plan(*commands: str, options: RecordOptions = OPTIONS) -> Plan:
    return plan_replay(options, commands, RECORDED, ROOT)


def refusal(refused: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as caught:
        refused()
    assert caught.value.exit_status == 2
    message = str(caught.value)
    assert "\n" not in message
    assert not message.endswith(".")
    assert message[0].islower()
    return message


# Who is live


def test_a_dash_is_canned_and_the_others_live() -> None:
    made = plan("-", "serve", "-")
    assert [(process.name, process.command, process.is_live) for process in made.processes] == [
        ("db", "-", False),
        ("web", "serve", True),
        ("test", "-", False),
    ]


def test_with_names_who_is_not_named_is_canned() -> None:
    assert [process.is_live for process in plan("test: ask").processes] == [False, False, True]
    assert [process.command for process in plan("web: -", "test: ask").processes] == ["-", "-", "ask"]


def test_names_may_come_in_any_order_and_keep_their_positions() -> None:
    made = plan("test: ask", "db: serve")
    assert [(process.name, process.position, process.command) for process in made.processes] == [
        ("db", 1, "serve"),
        ("web", 2, "-"),
        ("test", 3, "ask"),
    ]


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        (
            (),
            "cannot replay 0 commands: the recording has 3 processes (db, web, test), "
            "'-' plays one from the dump",
        ),
        (
            ("a",),
            "cannot replay 1 command: the recording has 3 processes (db, web, test), "
            "'-' plays one from the dump",
        ),
        (
            ("a", "b", "c", "d"),
            "cannot replay 4 commands: the recording has 3 processes (db, web, test), "
            "'-' plays one from the dump",
        ),
        (("-", "-", "-"), "cannot replay db, web, test: all are canned, one at least must run"),
        (("db: -",), "cannot replay db, web, test: all are canned, one at least must run"),
        (
            ("who: x", "db: y"),
            "cannot replay who: no such process in the recording, there is db, web, test",
        ),
        (("db: x", "y"), "cannot mix named and unnamed commands: db named, without a name 'y'"),
        (("db: x", "db: y"), "cannot tell processes apart: db is given twice"),
        (("db:  ",), "cannot run db: the command is empty"),
    ],
)
def test_words_that_fit_no_recording_are_refused(commands: tuple[str, ...], message: str) -> None:
    assert refusal(lambda: plan(*commands)) == message


# Where they are


def test_processes_have_their_places_in_another_subnet() -> None:
    made = plan("-", "-", "ask", options=replace(OPTIONS, subnet="192.168.77.0/24"))
    assert [str(process.address4) for process in made.processes] == [
        "192.168.77.1",
        "192.168.77.2",
        "192.168.77.3",
    ]


def test_only_addresses_that_changed_are_told_and_link_local_ones_never_do() -> None:
    assert changed_addresses(RECORDED[:0], plan("-", "-", "x")) == {}
    moved = plan("-", "-", "x", options=replace(OPTIONS, subnet="192.168.77.0/24"))
    changed = changed_addresses(RECORDED, moved)
    assert {old: new for old, new in changed.items() if "." in old} == {
        "10.0.0.1": "192.168.77.1",
        "10.0.0.2": "192.168.77.2",
        "10.0.0.3": "192.168.77.3",
    }
    assert not any(old.startswith("fd00:") for old in changed)
    assert not any(old.startswith("fe80:") for old in changed)


def test_a_subnet_without_room_is_refused() -> None:
    message = refusal(lambda: plan("-", "-", "x", options=replace(OPTIONS, subnet="10.1.0.0/30")))
    assert message == "cannot use subnet 10.1.0.0/30: 3 processes, room for 2"


# The words of the recording may stay


def test_who_is_canned_is_ready_and_its_end_ends_nothing() -> None:
    options = replace(OPTIONS, ready=("db", "web:80"), until=("db", "test"))
    made = plan("-", "serve", "ask", options=options)
    assert [(rule.name, rule.port) for rule in made.ready] == [("web", 80)]
    assert made.until == ("test",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            replace(OPTIONS, ready=("who",)),
            "cannot use --ready who: no such process; there is db, web, test",
        ),
        (
            replace(OPTIONS, until=("who",)),
            "cannot use --until who: no such process; there is db, web, test",
        ),
        (
            replace(OPTIONS, ready=("db:99999",)),
            "cannot use --ready db:99999: port 99999 is not from 1 to 65535",
        ),
        (replace(OPTIONS, ready=("db:x",)), "cannot use --ready 'db:x': not like NAME or NAME:PORT"),
    ],
)
def test_names_that_nobody_has_are_refused_canned_or_not(options: RecordOptions, message: str) -> None:
    assert refusal(lambda: plan("-", "-", "ask", options=options)) == message
    assert refusal(lambda: plan("serve", "-", "-", options=options)) == message


# How it is played


def pace(**words: object) -> ReplayOptions:
    return plan_pace(ReplayWords(**words))  # type: ignore[arg-type]


def test_without_words_it_is_played_as_it_was() -> None:
    assert pace() == ReplayOptions()


def test_speed_patience_and_stall_are_numbers() -> None:
    made = pace(speed="2.5", patience_s=0.5, stall_s=0.0)
    assert (made.pace, made.speed) == (Pace.TIMED, 2.5)
    assert (made.patience_ns, made.stall_ns) == (500_000_000, 0)
    assert pace(speed="max").pace is Pace.MAX
    assert pace(flood=True).pace is Pace.FLOOD
    assert pace(on_divergence="stop").on_divergence is OnDivergence.STOP


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", "", "1e-9", "1e9"])
def test_a_speed_that_is_none_is_refused(text: str) -> None:
    assert refusal(lambda: pace(speed=text)) == (
        f"cannot use --speed {text}: not a number above 0, nor 'max'"
    )


def test_a_flood_has_no_speed() -> None:
    assert refusal(lambda: pace(speed="2", flood=True)) == (
        "cannot use --speed with --flood: a flood keeps neither time nor order"
    )


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_seconds_that_are_none_are_refused(seconds: float) -> None:
    for option in ("patience", "stall"):
        message = refusal(lambda option=option: pace(**{f"{option}_s": seconds}))  # type: ignore[misc]
        assert message == f"cannot use --{option} {seconds:g}: not a number of seconds from 0 up"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("(", "missing ), unterminated subpattern at position 0"),
        ("", "it matches the empty string only"),
        ("a{2,1}", "min repeat greater than max repeat at position 2"),
    ],
)
def test_what_is_no_mask_is_refused_with_the_other_words(text: str, cause: str) -> None:
    assert refusal(lambda: pace(ignore=(text,))) == f"cannot use --ignore {text!r}: {cause}"


@given(st.binary(min_size=1, max_size=20).map(lambda octets: octets.replace(b"\0", b"")).filter(bool))
def test_a_mask_is_the_octets_that_the_shell_handed_over(octets: bytes) -> None:
    escaped = b"".join(b"\\x%02x" % octet if octet < 0x80 else bytes((octet,)) for octet in octets)
    assert pace(ignore=(escaped.decode("utf-8", "surrogateescape"),)).ignore == (escaped,)
