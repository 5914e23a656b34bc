"""Datagrams of real programs, recorded once and replayed: all live, the server canned, the client canned.

Once each here; fifty times in `scripts/soak post-50`.
"""

from __future__ import annotations

import pytest
from journey import posts
from journey.replays import (
    DIVERGED,
    Mode,
    Program,
    assert_as_recorded,
    played,
    record_program,
    replay,
    replay_program,
)
from journey.runs import Place, python, record

from needs import needs_tun

QUICK = ("--stall", "1")


@pytest.mark.parametrize("name", posts.POSTS)
def test_datagrams_are_replayed_as_they_were_recorded(place: Place, name: str) -> None:
    needs_tun()
    played(place, posts.POSTS[name](place))


@pytest.mark.parametrize(("recorded", "now"), [(4, 6), (6, 4)])
def test_both_may_choose_the_other_family(place: Place, recorded: int, now: int) -> None:
    needs_tun()
    said = record_program(place, posts.asked(recorded, 5, 2000))
    for mode in Mode:
        replayed = replay_program(place, posts.asked(now, 5, 2000), mode)
        assert_as_recorded(replayed)
        assert replayed.ended.stdout == (said.stdout if mode.has_client else ""), replayed


@pytest.mark.parametrize(
    ("recorded", "now"), [("10.0.0.1", "fd00:706c:67::1"), ("fd00:706c:67::1", "10.0.0.1")]
)
def test_connections_too_are_made_in_the_other_family(place: Place, recorded: str, now: str) -> None:
    """The server of the replay listens in that family only."""
    needs_tun()

    served = place.folder("served")

    def program(server: str) -> Program:
        url = f"http://[{server}]:8080/" if ":" in server else f"http://{server}:8080/"
        return Program(
            f"exec python3 -m http.server -b {server} -d {served} 8080 > /dev/null 2>&1",
            f"python3 -c 'import urllib.request as u; print(u.urlopen(\"{url}\").status)'",
            8080,
            ignore=(r"Date: [^\r]*", r"Host: [^\r]*"),
        )

    record_program(place, program(recorded))
    for mode in (Mode.SERVER_CANNED, Mode.CLIENT_CANNED):
        assert_as_recorded(replay_program(place, program(now), mode))


def test_groups_and_broadcasts_are_heard_again(place: Place) -> None:
    needs_tun()
    groups = ("224.0.0.251", "ff02::fb", "ff05::1234")
    listeners = [python("post.py", "listen", posts.PORT, name, *groups) for name in ("one", "two")]
    teller = python("post.py", "tell", posts.PORT, "255.255.255.255", "10.0.0.255", *groups)
    ended = record(place, *listeners, teller, options=("--until", "p3"))
    assert ended.status == 0, ended
    for commands in ((*listeners, teller), ("-", "-", teller), (listeners[0], "-", "-")):
        replayed = replay(place, *commands, options=("--until", "p3"))
        assert_as_recorded(replayed)
        assert replayed.ended.stdout == (ended.stdout if commands[2] == teller else ""), replayed


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((), "never said datagram 1 of "),
        ((8, 8), "never said datagram "),
        ((8, 9, 8), "said other bytes than in datagram "),
        ((8, 8, 8, 8), "said more datagrams than it had said"),
    ],
)
def test_what_a_client_says_otherwise_is_found(place: Place, sizes: tuple[int, ...], text: str) -> None:
    needs_tun()
    record_program(place, posts.asked(4, 8, 8, 8))
    client = posts.asked(4, *sizes).client if sizes else "exec sleep 0.1"
    replayed = replay(place, f"client: {client}", options=QUICK)
    assert replayed.ended.status == DIVERGED, replayed
    assert replayed.first["process"] == "client", replayed
    assert replayed.first["connection"] == f"client -> server:{posts.PORT}/udp", replayed
    assert replayed.first["text"].startswith(text), replayed


def test_a_server_that_answers_nothing_is_found(place: Place) -> None:
    needs_tun()
    record_program(place, posts.asked(4, 8, 8, 8))
    for server in ("exec sleep 60", python("post.py", "take", posts.SERVERS[4], posts.PORT, 99, 8)):
        replayed = replay(place, f"server: {server}", options=QUICK)
        assert replayed.ended.status == DIVERGED, replayed
        assert {each["process"] for each in replayed.divergences} == {"server"}, replayed
