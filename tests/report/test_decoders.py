"""The decoders of the page, run where they run: in Chromium.

What is said becomes requests and answers; any bytes become messages within those bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journey.browser import Browser, browsing
from report.talks import DNS, HTTP, POSTGRES, REDIS, Said, every_protocol

from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.recording import open_recording
from netplayground.report.content import Room
from netplayground.report.page import make_page

TALKS = {80: HTTP, 6379: REDIS, 5432: POSTGRES, 53: DNS}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    with open_recording(every_protocol(folder / "dump")) as recording:
        (folder / "page.html").write_text(make_page(recording, "dump", Room()))
    with browsing() as opened:
        opened.open(folder / "page.html")
        yield opened


def decode(browser: Browser, said: Sequence[Said], port: int) -> Any:
    """What the page makes of it, as { name, messages } or None; port 53 is UDP here."""
    streams = [b"".join(data for who, data in said if who == side) for side in (CLIENT, SERVER)]
    datagrams, at = [], [0, 0]
    for side, data in said:
        datagrams.append([side, at[side], at[side] + len(data)])
        at[side] += len(data)
    words = json.dumps(
        [[list(stream) for stream in streams], [40000, port], datagrams if port == 53 else None]
    )
    return browser.run(
        f"(([streams, ports, datagrams]) => {{ const found = plg.decode("
        "streams.map((stream) => Uint8Array.from(stream)), ports, datagrams);"
        "return found && { name: found.name, messages: found.messages.map((said) => ({ ...said,"
        " request: said.request && said.request.title })) }; })"
        f"({words})"
    )


def titles(decoded: Any) -> list[str]:
    return [("<- " if said["side"] else "-> ") + said["title"] for said in decoded["messages"]]


def test_http(browser: Browser) -> None:
    decoded = decode(browser, HTTP, 80)
    assert decoded["name"] == "HTTP"
    assert titles(decoded) == [
        "-> POST /a?b=1 HTTP/1.1",
        "<- HTTP/1.1 100 Continue",
        "<- HTTP/1.1 200 OK",
        "-> HEAD /none HTTP/1.1",
        "<- HTTP/1.1 404 Not Found",
    ]
    answer = decoded["messages"][2]
    assert answer["request"] == "POST /a?b=1 HTTP/1.1"
    assert answer["lines"][-3:] == ["body: 11 bytes", "first", "later"]


def test_redis(browser: Browser) -> None:
    decoded = decode(browser, REDIS, 6379)
    assert decoded["name"] == "Redis"
    assert titles(decoded) == [
        *("-> GET colour", '<- "grün"', "-> PING", "<- PONG", "-> KEYS *", "<- [a, b]"),
        *("-> NOPE", "<- error: ERR unknown command"),
    ]
    assert decoded["messages"][5]["lines"] == ["1) a", "2) b"]


def test_postgresql(browser: Browser) -> None:
    decoded = decode(browser, POSTGRES, 5432)
    assert decoded["name"] == "PostgreSQL"
    assert titles(decoded) == [
        "-> SSLRequest",
        "<- N: no encryption",
        "-> Startup user = me, database = shop",
        "<- AuthenticationOk",
        "<- ReadyForQuery (idle)",
        "-> Query select name from things",
        "<- RowDescription name",
        "<- DataRow lamp",
        "<- CommandComplete SELECT 1",
        "<- ReadyForQuery (idle)",
        "-> Query select nothing",
        "<- ErrorResponse: ERROR 42703 no such column",
        "<- ReadyForQuery (idle)",
    ]
    assert decoded["messages"][9]["request"] == "Query select name from things"


def test_dns(browser: Browser) -> None:
    decoded = decode(browser, DNS, 53)
    assert decoded["name"] == "DNS"
    assert titles(decoded) == [
        "-> A example.org",
        "<- A example.org: 192.0.2.7",
        "-> AAAA example.org",
        "<- AAAA example.org: NXDOMAIN",
    ]
    assert decoded["messages"][1]["lines"] == ["example.org 60 A 192.0.2.7"]


def test_what_is_none_of_them_is_nothing(browser: Browser) -> None:
    assert decode(browser, [(CLIENT, b"\x16\x03\x01"), (SERVER, b"220 ready\r\n")], 443) is None


def _cut(said: Sequence[Said], at: int) -> list[Said]:
    """The first bytes of a talk."""
    kept = []
    for side, data in said:
        kept.append((side, data[:at]))
        at -= len(kept[-1][1])
    return kept


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(TALKS)),
    st.integers(0, 600),
    st.lists(st.tuples(st.integers(0, 600), st.binary(max_size=4))),
)
def test_any_bytes_become_messages_within_them(
    browser: Browser, port: int, length: int, changes: list[tuple[int, bytes]]
) -> None:
    said = _cut(TALKS[port], length)
    for place, data in changes:
        side, before = said[place % len(said)]
        at = place % (len(before) + 1)
        said[place % len(said)] = side, before[:at] + data + before[at + len(data) :]
    decoded = decode(browser, said, port)
    if decoded is None:
        return
    lengths = [sum(len(data) for who, data in said if who == side) for side in (CLIENT, SERVER)]
    for side in (CLIENT, SERVER):
        spans = [(each["at"], each["end"]) for each in decoded["messages"] if each["side"] == side]
        if port != 53:  # DNS answers come beside their questions
            assert spans == sorted(spans)
        assert all(0 <= at <= end <= lengths[side] for at, end in spans)


@settings(max_examples=60)
@given(st.sampled_from([80, 6379, 5432, 53]), st.binary(max_size=200), st.binary(max_size=200))
def test_noise_ends_no_decoder(browser: Browser, port: int, client: bytes, server: bytes) -> None:
    begins = {80: b"GET / HTTP/1.1\r\n\r\n", 6379: b"*1\r\n$4\r\nPING\r\n", 5432: POSTGRES[0][1], 53: b""}
    decode(browser, [(CLIENT, begins[port] + client), (SERVER, server)], port)
    assert not browser.complaints


@pytest.mark.parametrize(
    ("said", "port"),
    [
        ([(CLIENT, b"*1\r\n$4\r\nPING\r\n"), (SERVER, b"*1\r\n" * 50_000)], 6379),
        ([(CLIENT, b"*1\r\n$4\r\nPING\r\n"), (SERVER, b"*2147483647\r\n" * 1000)], 6379),
        ([(CLIENT, DNS[0][1]), (SERVER, DNS[1][1][:12] + b"\xc0\x0c" * 10_000)], 53),
        ([(CLIENT, b"GET / HTTP/1.1\r\n\r\n" * 20_000), (SERVER, b"HTTP/1.1 204 \r\n\r\n" * 20_000)], 80),
    ],
    ids=["deep", "boasting", "circular", "many"],
)
def test_what_is_made_to_be_slow_is_decoded_all_the_same(
    browser: Browser, said: list[Said], port: int
) -> None:
    assert decode(browser, said, port) is not None
