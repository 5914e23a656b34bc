"""Which recorded datagrams live processes have said, and what they hear."""

from __future__ import annotations

import pytest

from netplayground.dump.model import CLIENT, SERVER
from netplayground.errors import UsageError
from netplayground.replay.content import Content
from netplayground.replay.exchange import Exchange, Said
from netplayground.replay.flows import ICMP, NOBODY, UDP, Letter
from netplayground.replay.masks import address_masks, parse_masks
from netplayground.replay.options import EchoRule, Strictness, parse_echo_rule
from netplayground.replay.tape import ERROR, Tape

HERE, THERE = 0, 1  # a resolver's client, and its server
PORT = 53


class Post:
    """A tape of datagrams, written one by one."""

    def __init__(self) -> None:
        self.payload = bytearray()
        self.tape = Tape((), lambda offset, length: bytes(self.payload[offset : offset + length]))

    def say(
        self, sender: int, receiver: int, source_port: int, port: int, payload: bytes, group: bytes = b""
    ) -> int:
        return self.put(Letter(UDP, sender, receiver, group, source_port, port, payload))

    def put(self, letter: Letter) -> int:
        offset = len(self.payload)
        self.payload += letter.payload
        return self.tape.add_datagram(letter, 4, 0, offset, len(letter.payload))


def questions(*ports: int) -> tuple[Post, list[int]]:
    """A question and its answer from each of these ports."""
    post = Post()
    events = []
    for number, port in enumerate(ports):
        events.append(post.say(HERE, THERE, port, PORT, b"\0\0question %d" % number))
        events.append(post.say(THERE, HERE, PORT, port, b"\0\0answer %d" % number))
    return post, events


def exchange(
    post: Post, strictness: Strictness = Strictness.LOSSY, *rules: EchoRule, ignore: tuple[bytes, ...] = ()
) -> Exchange:
    return Exchange(post.tape, strictness, Content(rules, parse_masks(ignore)))


def ask(port: int, payload: bytes) -> Letter:
    return Letter(UDP, HERE, THERE, b"", port, PORT, payload)


def test_all_questions_to_a_port_and_their_answers_are_one_flow() -> None:
    post, events = questions(40000, 50000)
    assert len(post.tape.flows) == 1
    flow = post.tape.flows.all[0]
    assert (list(flow.events[CLIENT]), list(flow.events[SERVER])) == (events[::2], events[1::2])


def test_an_answer_goes_to_the_port_from_which_the_question_came_this_time() -> None:
    post, (question, answer) = questions(40000)
    play = exchange(post)
    assert play.delivery(answer, HERE) is None
    assert play.take(ask(45678, b"\0\0question 0"), 4)[::2] == (Said.FOUND, question)
    delivery = play.delivery(answer, HERE)
    assert delivery is not None
    assert (delivery.letter.source_port, delivery.letter.port) == (PORT, 45678)
    assert delivery.letter.payload == b"\0\0answer 0"


def test_the_client_may_choose_the_other_family() -> None:
    post, (_, answer) = questions(40000)
    play = exchange(post)
    play.take(ask(45678, b"\0\0question 0"), 6)
    delivery = play.delivery(answer, HERE)
    assert delivery is not None and delivery.version == 6


def test_a_live_server_is_asked_from_the_recorded_port() -> None:
    post, (question, answer) = questions(40000)
    play = exchange(post)
    delivery = play.delivery(question, THERE)
    assert delivery is not None
    assert (delivery.letter.source_port, delivery.letter.port) == (40000, PORT)
    said = play.take(Letter(UDP, THERE, HERE, b"", PORT, 40000, b"\0\0answer 0"), 4)
    assert said[::2] == (Said.FOUND, answer)


def test_a_server_that_answers_from_a_port_of_its_own_is_followed() -> None:
    """As TFTP does (RFC 1350, 4)."""
    post = Post()
    post.say(HERE, THERE, 40000, 69, b"read")
    data = post.say(THERE, HERE, 41111, 40000, b"data")
    ack = post.say(HERE, THERE, 40000, 41111, b"ack")
    as_client = exchange(post)
    as_client.take(Letter(UDP, HERE, THERE, b"", 45678, 69, b"read"), 4)
    delivery = as_client.delivery(data, HERE)
    assert delivery is not None and delivery.letter.port == 45678
    said = as_client.take(Letter(UDP, HERE, THERE, b"", 45678, 41111, b"ack"), 4)
    assert said[::2] == (Said.FOUND, ack)
    as_server = exchange(post)
    said = as_server.take(Letter(UDP, THERE, HERE, b"", 52222, 40000, b"data"), 4)
    assert said[::2] == (Said.FOUND, data)
    delivery = as_server.delivery(ack, THERE)
    assert delivery is not None and delivery.letter.port == 52222


def test_lossy_takes_any_order_forgives_repetition_and_what_was_overtaken() -> None:
    post, events = questions(40000, 40001, 40002)
    play = exchange(post)
    assert play.take(ask(1024, b"\0\0question 1"), 4)[0] is Said.FOUND
    assert play.take(ask(1024, b"\0\0question 1"), 4)[0] is Said.REPEATED
    assert play.is_done(events[0])
    assert not play.is_done(events[4])
    assert play.take(ask(1025, b"\0\0question 0"), 4)[0] is Said.FOUND
    assert play.take(ask(1025, b"\0\0question 9"), 4)[0] is Said.UNKNOWN


def test_strict_takes_only_the_next() -> None:
    post, events = questions(40000, 40001)
    play = exchange(post, Strictness.STRICT)
    assert play.take(ask(1024, b"\0\0question 1"), 4)[0] is Said.OUT_OF_TURN
    assert play.take(ask(1024, b"\0\0question 0"), 4)[0] is Said.FOUND
    assert play.take(ask(1024, b"\0\0question 0"), 4)[0] is Said.OUT_OF_TURN
    assert [play.is_done(event) for event in events[::2]] == [True, False]


def test_an_echo_rule_copies_bytes_of_the_question_into_its_answer() -> None:
    post, (_, answer) = questions(40000)
    play = exchange(post, Strictness.LOSSY, EchoRule(0, 2, PORT))
    assert play.take(ask(45678, b"\x12\x34question 0"), 4)[0] is Said.FOUND
    delivery = play.delivery(answer, HERE)
    assert delivery is not None
    assert delivery.letter.payload == b"\x12\x34answer 0"


def test_what_an_answer_repeats_is_not_where_a_question_differs() -> None:
    post, _ = questions(40000)
    play = exchange(post, Strictness.LOSSY, EchoRule(0, 2, PORT))
    (flow,) = post.tape.flows
    assert play.shared_length(flow, b"\0\0question 0", b"\x12\x34question 7") == len(b"..question ")


def test_masks_hold_for_datagrams_too() -> None:
    post, _ = questions(40000)
    play = exchange(post, ignore=(rb"question \d+",))
    assert play.take(ask(45678, b"\0\0question 77"), 4)[0] is Said.FOUND


def test_an_address_of_the_recording_may_be_said_as_that_of_the_replay() -> None:
    post = Post()
    post.say(HERE, THERE, 40000, PORT, b"at 10.0.0.1!")
    masks = address_masks({"10.0.0.1": "192.168.77.1"})
    play = Exchange(post.tape, Strictness.LOSSY, Content((), masks))
    assert play.take(ask(45678, b"at 192.168.77.2!"), 4)[0] is Said.UNKNOWN
    assert play.take(ask(45678, b"at 192.168.77.1!"), 4)[0] is Said.FOUND


def test_an_echo_reply_repeats_the_request_and_is_compared_by_its_number() -> None:
    post = Post()
    post.put(Letter(ICMP, HERE, THERE, b"", 0, 0, b"\x08\0\0\0" + b"ID" + b"\0\1" + b"then"))
    reply = post.put(Letter(ICMP, THERE, HERE, b"", 0, 0, b"\0\0\0\0" + b"ID" + b"\0\1" + b"then"))
    play = exchange(post)
    said = play.take(Letter(ICMP, HERE, THERE, b"", 0, 0, b"\x08\0\0\0" + b"id" + b"\0\1" + b"now"), 4)
    assert said[0] is Said.FOUND
    delivery = play.delivery(reply, HERE)
    assert delivery is not None
    assert delivery.letter.payload[4:] == b"id\0\1now"


def test_both_may_ask_for_echo() -> None:
    post = Post()
    for sender, receiver in ((HERE, THERE), (THERE, HERE)):
        for kind, asker in ((8, sender), (0, receiver)):
            to = receiver if asker == sender else sender
            post.put(Letter(ICMP, asker, to, b"", 0, 0, bytes([kind, 0, 0, 0]) + b"ID\0\1"))
    assert [[list(side) for side in flow.events] for flow in post.tape.flows] == [[[0], [1]], [[2], [3]]]


def test_port_unreachable_belongs_to_the_datagram_that_it_is_about() -> None:
    post = Post()
    question = Letter(UDP, HERE, THERE, b"", 40000, PORT, b"anybody?")
    post.put(question)
    error = post.put(Letter(ICMP, THERE, HERE, b"", 0, 0, b"\x03\x03" + bytes(30), question))
    assert post.tape.code[error] & ~1 == ERROR
    play = exchange(post)
    assert play.delivery(error, HERE) is None
    live = ask(45678, b"anybody?")
    play.take(live, 4)
    delivery = play.delivery(error, HERE)
    assert delivery is not None and delivery.letter.quoted == live


def test_a_group_is_a_flow_of_its_own() -> None:
    post = Post()
    group = bytes([224, 0, 0, 251])
    event = post.say(HERE, NOBODY, 5353, 5353, b"who?", group)
    play = exchange(post)
    delivery = play.delivery(event, THERE)
    assert delivery is not None
    assert (delivery.letter.group, delivery.letter.port) == (group, 5353)
    assert play.take(Letter(UDP, HERE, NOBODY, group, 5353, 5353, b"who?"), 4)[0] is Said.FOUND
    assert play.take(Letter(UDP, THERE, NOBODY, group, 5353, 5353, b"who?"), 4)[0] is Said.UNKNOWN


@pytest.mark.parametrize("text", ["", "0:2", "2@53", "0:0@53", "0:2@0", "0:2@70000", "65507:1@53", "a:b@c"])
def test_a_rule_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot use --echo"):
        parse_echo_rule(text)


def test_a_rule_is_read() -> None:
    assert parse_echo_rule("0:2@53") == EchoRule(0, 2, 53)


def test_of_several_requests_under_way_each_has_its_own_bytes_in_its_answer() -> None:
    """A resolver's client asks for A and AAAA from one socket at once."""
    post = Post()
    for identity, name in ((b"\0\1", b"A"), (b"\0\2", b"AAAA")):
        post.say(HERE, THERE, 40000, PORT, identity + name)
    answers = [post.say(THERE, HERE, PORT, 40000, identity + b"is") for identity in (b"\0\2", b"\0\1")]
    play = exchange(post, Strictness.LOSSY, EchoRule(0, 2, PORT))
    play.take(ask(45678, b"\x77\x77A"), 4)
    play.take(ask(45678, b"\x88\x88AAAA"), 4)
    said = [delivery.letter.payload for each in answers if (delivery := play.delivery(each, HERE))]
    assert said == [b"\x88\x88is", b"\x77\x77is"]


def test_of_equal_datagrams_each_socket_says_its_own() -> None:
    post = Post()
    events = [post.say(HERE, THERE, port, PORT, b"alive") for port in (40000, 50000, 40000, 50000)]
    play = exchange(post)
    found = [play.take(ask(port, b"alive"), 4)[1:] for port in (1025, 1026, 1026, 1025)]
    assert [event for _, event in found] == [events[0], events[1], events[3], events[2]]


def test_what_is_said_again_is_answered_again_if_it_was_answered() -> None:
    post, (question, answer) = questions(40000)
    play = exchange(post)
    play.take(ask(45678, b"\0\0question 0"), 4)
    assert play.take(ask(45678, b"\0\0question 0"), 4)[::2] == (Said.REPEATED, question)
    assert list(play.answers_again(question, HERE)) == []
    play.tell(answer, HERE)
    assert list(play.answers_again(question, HERE)) == [answer]


def test_the_answer_goes_to_the_socket_that_asked_again() -> None:
    post, (question, answer) = questions(40000)
    play = exchange(post)
    for port in (45678, 45679):
        assert play.take(ask(port, b"\0\0question 0"), 4)[2] == question
    delivery = play.delivery(answer, HERE)
    assert delivery is not None and delivery.letter.port == 45679


def test_a_port_of_now_that_is_another_ones_recorded_port_is_no_trap() -> None:
    """What a process answers to is the recorded port from which it heard."""
    post, (*_, question, answer) = questions(40000, 50000)
    play = exchange(post)
    play.take(ask(50000, b"\0\0question 0"), 4)
    play.tell(question, THERE)
    said = play.take(Letter(UDP, THERE, HERE, b"", PORT, 50000, b"\0\0answer 1"), 4)
    assert said[::2] == (Said.FOUND, answer)


def test_ten_thousand_equal_datagrams_are_not_looked_through_for_each() -> None:
    post = Post()
    for number in range(10_000):
        post.say(HERE, THERE, 40000, PORT, b"even" if number % 2 == 0 else b"odd")
    play = exchange(post)
    reads = 0
    read = post.tape.read

    def counting(offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(offset, length)

    post.tape.read = counting
    for payload in (b"odd", b"even"):
        for _ in range(5_000):
            assert play.take(ask(45678, payload), 4)[0] is Said.FOUND
    assert reads <= 3 * 10_000


@pytest.mark.parametrize("speaks", [False, True])
def test_who_is_a_member_of_a_group_is_known_by_the_port_from_which_it_speaks(speaks: bool) -> None:
    post, group = Post(), bytes([224, 0, 0, 251])
    event = post.say(HERE, NOBODY, 5353, 5353, b"who?", group)
    if speaks:
        post.say(THERE, HERE, 5353, 5353, b"me")
    assert exchange(post).awaits_listener(event, THERE) == speaks


def test_who_says_something_else_hears_all_the_same() -> None:
    post, events = questions(40000, 50000)
    play = exchange(post)
    for port, answer in ((1025, events[1]), (1026, events[3])):
        said, flow, event = play.take(ask(port, b"something else"), 4)
        assert said is (Said.UNKNOWN if port == 1025 else Said.IGNORED)
        assert flow is not None and not play.has_come(event)
        play.diverge(flow)
        delivery = play.delivery(answer, HERE)
        assert delivery is not None and delivery.letter.port == port
