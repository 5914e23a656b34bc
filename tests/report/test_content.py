"""What the page holds of a recording: all of it, or each part's beginning and a word about the rest."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from dump.making import RUN, create, every_ending, opened, say, writing
from report.talks import DNS, HTTP, REDIS, content_of, every_protocol, many_chunks, post, talk

from netplayground.dump.model import CLIENT, SERVER
from netplayground.report.content import KINDS


def test_all_that_was_said_is_there_by_direction(tmp_path: Path) -> None:
    content = content_of(every_protocol(tmp_path / "d"))
    http, redis, _postgres, dns = content.flows
    for flow, said in ((http, HTTP), (redis, REDIS), (dns, DNS)):
        for side in (CLIENT, SERVER):
            assert bytes(flow.payload[side]) == b"".join(data for who, data in said if who == side)
    assert base64.b64decode(content.payload()).startswith(HTTP[0][1] + HTTP[2][1])
    assert content.left_out == ()


def test_events_are_in_the_order_of_the_run_with_their_flow_and_side(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        one, other = opened(writer, 4, 40000), opened(writer, 4, 40001)
        say(one, CLIENT, b"a")
        say(other, SERVER, b"bc")
        one.rst(SERVER)
    columns = content_of(tmp_path / "d").columns
    told = list(zip(columns.flow, (KINDS[kind & 0x7F] for kind in columns.kind), columns.length, strict=True))
    assert told == [
        *((0, "syn", 0), (0, "established", 0), (1, "syn", 0), (1, "established", 0)),
        *((0, "chunk", 1), (1, "chunk", 2), (0, "rst", 0)),
    ]
    assert [kind >> 7 for kind in columns.kind][-3:] == [0, 1, 1]
    assert list(columns.seconds) == sorted(columns.seconds)


def test_datagrams_both_ways_are_one_flow_and_the_first_sender_is_its_client(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        post(writer, DNS, 53)
        post(writer, DNS[:1], 53, client_port=40001)
    first, second = content_of(tmp_path / "d").flows
    assert (first.protocol, first.ends, first.chunks) == ("UDP", ("10.0.0.2:40000", "10.0.0.1:53"), [2, 2])
    assert (second.ends, second.chunks) == (("10.0.0.2:40001", "10.0.0.1:53"), [1, 0])


def test_an_address_that_is_no_process_gets_a_lane_and_too_many_share_one(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        for number in range(20):
            client = RUN.processes[1].addresses[0].packed
            connection = writer.connection(4, client, 40000, bytes([10, 0, 9, number]), 80)
            connection.syn()
            connection.unanswered()
    content = content_of(tmp_path / "d")
    assert content.lanes[:3] == ["db", "app", "10.0.9.0"]
    assert content.lanes[-1] == "other addresses"
    assert len(content.lanes) == 2 + 12 + 1
    assert all(lane < len(content.lanes) for flow in content.flows for lane in flow.lanes)


def test_too_much_payload_is_cut_to_each_beginning_and_said(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        talk(writer, [(CLIENT, b"a" * 10), (SERVER, b"b" * 500), (SERVER, b"c" * 500)], 80)
    content = content_of(tmp_path / "d", payload=110)
    (flow,) = content.flows
    assert [bytes(side) for side in flow.payload] == [b"a" * 10, b"b" * 100]
    assert list(content.columns.kept)[2:5] == [10, 100, 0]
    assert content.left_out == (
        "900 bytes of payload: of each direction of each connection the page holds at most the first 100.",
    )


def test_too_many_chunks_and_connections_are_left_out_and_said(tmp_path: Path) -> None:
    path = many_chunks(tmp_path / "d", 100, connections=10)
    content = content_of(path, chunks=40, flows=5)
    assert len(content.flows) == 5
    assert all(flow.kept_chunks == 8 for flow in content.flows)
    assert content.left_out[:2] == (
        "5 of 10 connections: the page holds the first ones.",
        "60 chunks: of each connection the page holds the first 8.",
    )


@pytest.mark.parametrize("complete", [True, False])
def test_every_ending_and_a_torn_dump(tmp_path: Path, complete: bool) -> None:
    writer = create(tmp_path / "d")
    every_ending(writer, 4)
    every_ending(writer, 6)
    writer.close(complete=complete)
    content = content_of(tmp_path / "d")
    assert len(content.flows) == 18
    assert {flow.ending for flow in content.flows} >= {
        "closed",
        "refused",
        "reset by client",
        "aborted",
        "open",
    }


def test_an_empty_run_has_no_events(tmp_path: Path) -> None:
    with writing(tmp_path / "d"):
        pass
    content = content_of(tmp_path / "d")
    assert (content.flows, len(content.columns.flow), content.payload()) == ([], 0, "")
