"""Two recordings that say the same do so for `plg diff`, whatever their order; those that do not, do not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from replay.faithful import Change, shown
from replay.test_alterations import alterations, is_allowed, other_byte
from replay.test_faithful import tapes
from replay.world import CLIENT, SERVER, TapeWriter
from report.altered import altered, difference

from netplayground.replay.judge import BEYOND, LATE
from netplayground.replay.options import EchoRule, ReplayOptions, Strictness
from netplayground.replay.tape import CHUNK, Outcome, Tape
from netplayground.replay.verdict import DivergenceKind
from netplayground.report.diff import Difference, compare
from netplayground.report.halves import make_halves
from netplayground.report.talks import ENDED, FEWER, SHARED, STILL_OPEN, UNUSED_IN_A

APP, DB = 0, 1


def talk(writer: TapeWriter, *said: tuple[int, bytes], port: int = 80) -> int:
    """One connection, whole."""
    number = writer.connect(APP, DB, port)
    for side, data in said:
        writer.after(1).say(number, side, data)
    writer.fin(number, CLIENT, SERVER)
    return number


def asked(*questions: bytes, answers: bytes = b"answer to ") -> Tape:
    """A connection for each question, one after another."""
    writer = TapeWriter("app", "db")
    for question in questions:
        talk(writer, (CLIENT, question), (SERVER, answers + question))
    return writer.end()


# -- The same


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(tapes())
def test_a_recording_says_the_same_as_itself(tape: Tape) -> None:
    note(shown(tape))
    found = difference(tape, tape)
    verdict = found.verdict
    assert found.is_same and not verdict.notes and not found.only_in_a and not found.only_in_b, verdict
    assert (verdict.reordered, verdict.rematched) == (0, 0)
    assert verdict.bytes_matched == verdict.bytes == sum(sum(record.bytes) for record in tape.records)
    assert verdict.connection_share == 1.0


@given(st.permutations([b"one", b"two", b"three", b"four", b"four"]), st.permutations(range(5)))
def test_connections_in_another_order_are_matched(questions: list[bytes], order: list[int]) -> None:
    one, two = asked(*questions), asked(*(questions[place] for place in order))
    found = difference(one, two)
    assert found.is_same
    assert found.verdict.connections_matched == 5
    assert bool(found.verdict.rematched) == (questions != [questions[place] for place in order])


def test_bytes_may_come_in_other_pieces() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    talk(one, (CLIENT, b"question"), (SERVER, b"answer"))
    talk(two, (CLIENT, b"ques"), (CLIENT, b"tion"), (SERVER, b"a"), (SERVER, b"nswe"), (SERVER, b"r"))
    assert difference(one.end(), two.end()).is_same


def test_who_answered_before_all_was_asked_is_a_note_unless_order_counts() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    for writer, order in ((one, (0, 1, 2)), (two, (0, 2, 1))):
        numbers = writer.connect(APP, DB), writer.connect(APP, DB, 81)
        said = (
            (numbers[0], CLIENT, b"first"),
            (numbers[1], CLIENT, b"second"),
            (numbers[0], SERVER, b"done"),
        )
        for place in order:
            writer.after(1).say(*said[place])
        for number in numbers:
            writer.fin(number, CLIENT, SERVER)
    found = difference(one.end(), two.end())
    assert found.is_same and found.verdict.reordered == 1
    strict = difference(one.end(), two.end(), strict_order=True).verdict
    assert strict.first is not None and strict.first.kind is DivergenceKind.REORDERED


def test_a_rule_covers_what_differs() -> None:
    one, two = asked(b"q", answers=b"at 10:00, "), asked(b"q", answers=b"at 9:59, ")
    assert not difference(one, two).is_same
    found = difference(one, two, rb"\d+:\d+")
    assert found.is_same and found.verdict.masked_bytes == 5


def test_connections_of_a_pool_may_share_the_work_otherwise() -> None:
    def pool(*shares: int) -> Tape:
        writer = TapeWriter("app", "db")
        numbers = [writer.connect(APP, DB) for _ in shares]
        for number, share in zip(numbers, shares, strict=True):
            for _ in range(share):
                writer.after(1).say(number, CLIENT, b"more\n").say(number, SERVER, b"here\n")
        for number in numbers:
            writer.fin(number, CLIENT, SERVER)
        return writer.end()

    found = difference(pool(3, 5, 4), pool(5, 2, 5))
    assert found.is_same and found.verdict.notes == {SHARED: 2}
    assert found.verdict.bytes_matched == found.verdict.bytes
    assert not difference(pool(3, 5, 4), pool(5, 2, 4)).is_same
    assert not difference(pool(3), pool(4)).is_same


def test_a_pool_may_ask_on_another_connection_but_each_answer_stays_with_its_question() -> None:
    def pool(*connections: tuple[bytes, ...], wrong: bool = False) -> Tape:
        writer = TapeWriter("app", "db")
        for questions in connections:
            number = writer.connect(APP, DB)
            for question in questions:
                answer = b"no" if wrong and question == b"three" else b"re: " + question
                writer.after(1).say(number, CLIENT, question).say(number, SERVER, answer)
            writer.fin(number, CLIENT, SERVER)
        return writer.end()

    one = pool((b"one", b"two"), (b"three", b"four"))
    assert difference(one, pool((b"one", b"three"), (b"two", b"four"))).verdict.notes == {SHARED: 2}
    assert not difference(one, pool((b"one", b"three"), (b"two", b"four"), wrong=True)).is_same
    assert not difference(one, pool((b"one", b"three"), (b"two",))).is_same


def test_a_counter_may_count_on_another_connection() -> None:
    """All ask the same: whoever asks is answered with the next number."""

    def pool(*order: int) -> Tape:
        writer = TapeWriter("app", "db")
        numbers = [writer.connect(APP, DB) for _ in range(2)]
        for count, which in enumerate(order):
            writer.after(1).say(numbers[which], CLIENT, b"INCR\n")
            writer.say(numbers[which], SERVER, b":%d\n" % count)
        for number in numbers:
            writer.fin(number, CLIENT, SERVER)
        return writer.end()

    assert difference(pool(0, 1, 0, 1), pool(1, 1, 0, 0)).verdict.notes == {SHARED: 2}
    assert not difference(pool(0, 1, 0, 1), pool(1, 1, 0)).is_same


@pytest.mark.parametrize("is_told", [True, False])
def test_a_port_that_was_told_may_be_another(is_told: bool) -> None:
    def transfer(port: int) -> Tape:
        writer = TapeWriter("app", "db")
        control = writer.connect(APP, DB, 21)
        answer = b"(10,0,0,2,%d,%d)" % divmod(port, 256) if is_told else b"somewhere"
        writer.after(1).say(control, CLIENT, b"PASV").say(control, SERVER, answer)
        talk(writer, (SERVER, b"the file"), port=port)
        writer.fin(control, CLIENT, SERVER)
        return writer.end()

    assert difference(transfer(20000), transfer(21000), rb"\([^)]*\)").is_same == is_told


# -- Different


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(tapes(most=10), st.booleans())
def test_each_alteration_is_found_whichever_recording_has_it(tape: Tape, is_in_a: bool) -> None:
    note(shown(tape))
    for process in range(len(tape.lives)):
        for what, event, change in alterations(tape, process):
            note(f"{process}: {what} in place of event {event}")
            other = altered(tape, change)
            found = difference(other, tape) if is_in_a else difference(tape, other)
            # Nothing in place of some bytes may be two things: bytes less, and the work of a pool.
            assert found.verdict.divergence_count <= 2
            if found.is_same:
                assert is_excused(tape, process, what, event, found.verdict.notes), found.verdict


def is_excused(tape: Tape, process: int, what: str, event: int, notes: Any) -> bool:
    """Whether the difference is none, and that is said."""
    abort = "connections on which more was said before the peer's abort"
    if what in ("another byte", "another last byte"):
        return False
    if what in ("a byte more", "a byte less", "a first byte less", "nothing"):
        return bool({BEYOND, ENDED, FEWER, abort} & set(notes))
    if what in ("a connection more", "no connection"):
        record = tape.records[tape.record[event]]
        is_optional = record.is_silent if record.outcome is Outcome.ACCEPTED else True
        return bool({LATE, ENDED} & set(notes)) or (what == "no connection" and is_optional)
    if what in ("no close", "no abort"):
        return True  # the recording may have ended before
    return bool(notes) or is_allowed(tape, process, what, event)


def test_a_difference_that_the_server_makes_is_told_once() -> None:
    """The client, who heard something else, goes on otherwise."""
    one, two = (TapeWriter("app", "db") for _ in range(2))
    talk(one, (CLIENT, b"who?"), (SERVER, b"bob"), (CLIENT, b"hello bob"), (SERVER, b"hi"))
    talk(two, (CLIENT, b"who?"), (SERVER, b"eve"), (CLIENT, b"hello eve, long ago"), (SERVER, b"hm"))
    verdict = difference(one.end(), two.end()).verdict
    assert verdict.divergence_count == 1
    first = verdict.first
    assert first is not None
    assert (first.process, first.kind, first.offset) == ("db", DivergenceKind.DIFFERENT, 0)
    assert (first.expected, first.actual) == (b"bobhi", b"eve")


def test_what_was_answered_to_another_question_is_not_the_same() -> None:
    """Each process by itself says what it said."""
    one, two = (TapeWriter("app", "db") for _ in range(2))
    for writer, answers in ((one, (b"X", b"Y")), (two, (b"Y", b"X"))):
        for question, answer in zip((b"x", b"y"), answers, strict=True):
            talk(writer, (CLIENT, question), (SERVER, answer))
    assert not difference(one.end(), two.end()).is_same


def test_one_that_differs_takes_no_record_that_fits_another() -> None:
    one, two = asked(b"one", b"two"), asked(b"new", b"one")
    verdict = difference(one, two).verdict
    assert verdict.divergence_count == 1 and verdict.first is not None
    assert (verdict.first.record, verdict.first.expected[:3], verdict.first.actual[:3]) == (1, b"two", b"new")


def test_differences_come_in_the_order_of_the_first_recording() -> None:
    one = asked(b"a", b"b", b"c", b"d")
    two = asked(b"c", b"B", b"a", b"D")
    found = [each.record for each in difference(one, two).verdict.divergences]
    assert found == [1, 3]


def test_connections_of_one_recording_only_are_listed() -> None:
    found = difference(asked(b"one", b"two"), asked(b"two"))
    assert (found.only_in_a, found.only_in_b) == ((0,), ())
    found = difference(asked(b"two"), asked(b"one", b"two"))
    assert (found.only_in_a, found.only_in_b) == ((), (0,))
    assert found.verdict.first is not None
    assert "connection 0 of B" in found.verdict.first.text


def test_a_connection_that_was_refused_is_told_once() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    for writer, outcome in ((one, Outcome.ACCEPTED), (two, Outcome.REFUSED)):
        talk(writer, (CLIENT, b"up?"), (SERVER, b"up"))
        number = writer.after(1).connect(APP, DB, 80, outcome)
        if outcome is Outcome.ACCEPTED:
            writer.say(number, CLIENT, b"still?").fin(number, CLIENT, SERVER)
    verdict = difference(one.end(), two.end()).verdict
    assert verdict.divergence_count == 1 and verdict.first is not None
    assert verdict.first.text == "refused in B"
    assert difference(two.end(), one.end()).verdict.divergence_count == 1


def test_a_connect_that_nobody_answered_is_a_note() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    for writer in (one, two):
        talk(writer, (CLIENT, b"up?"), (SERVER, b"up"))
    one.connect(APP, DB, 80, Outcome.UNANSWERED)
    found = difference(one.end(), two.end())
    assert found.is_same and found.verdict.notes == {UNUSED_IN_A: 1}


def test_no_byte_is_compared_twice_in_the_figures() -> None:
    verdict = difference(asked(b"same", b"question"), asked(b"same", b"questiom")).verdict
    assert (verdict.bytes, verdict.bytes_matched) == (4 + 14 + 8 + 18, 4 + 14)


# -- Ends


def cut(one: Tape, at_ms: float) -> Tape:
    one.mark_ns = int(at_ms * 1_000_000)
    for life in one.lives:
        life.ended_ns, life.was_ended_by_plg = None, True
    return one


@pytest.mark.parametrize("is_first", [True, False])
def test_what_lies_after_the_end_of_either_recording_is_a_note(is_first: bool) -> None:
    longer, shorter = (TapeWriter("app", "db") for _ in range(2))
    for writer, beats in ((longer, 5), (shorter, 3)):
        number = writer.connect(APP, DB)
        for beat in range(beats):
            writer.after(100).say(number, SERVER, b"beat %d\n" % beat)
    pair = (cut(longer.end(), 550), cut(shorter.end(), 310))
    one, two = pair if is_first else pair[::-1]
    found = difference(one, two)
    assert found.is_same and (set(found.verdict.notes) == {ENDED if is_first else BEYOND})
    # Who ended by itself had done all that it would.
    pair[1].lives[DB].ended_ns = 300_000_000
    assert not difference(one, two).is_same


def test_of_a_torn_recording_what_is_there_is_compared() -> None:
    whole, torn = asked(b"one", b"two", b"three"), asked(b"one", b"two")
    torn.missing = "the end of the run and its index"
    for pair in ((whole, torn), (torn, whole)):
        found = difference(*pair)
        assert found.is_same and found.verdict.missing.endswith("lacks the end of the run and its index")
    torn = asked(b"one", b"TWO")
    torn.missing = "the end of the run and its index"
    assert not difference(whole, torn).is_same


def test_who_does_not_close_differs_once_it_has_had_the_time() -> None:
    one, two, three = (TapeWriter("app", "db") for _ in range(3))
    for writer in (one, two, three):
        number = writer.connect(APP, DB)
        writer.after(1).say(number, SERVER, b"bye")
        if writer is one:
            writer.fin(number, SERVER)
        writer.fin(number, CLIENT)
    whole = cut(one.end(), 2)
    soon = difference(whole, cut(two.end(), 100))
    assert soon.is_same and soon.verdict.notes == {STILL_OPEN: 1}
    late = difference(whole, cut(three.end(), 1000)).verdict
    assert late.first is not None and late.first.text == "did not close it"


# -- Who is who


def test_processes_match_by_name_else_by_position() -> None:
    one, two = TapeWriter("app", "db"), TapeWriter("p1", "db")
    for writer in (one, two):
        talk(writer, (CLIENT, b"question"), (SERVER, b"answer"))
    found = difference(one.end(), two.end())
    assert found.is_same and found.processes == (("app", "p1"),)


def test_a_capture_s_processes_match_by_their_addresses() -> None:
    """They stand in the order in which they were seen."""
    one, two = TapeWriter("app", "db"), TapeWriter("h-10-0-0-2", "h-10-0-0-1")
    talk(one, (CLIENT, b"question"), (SERVER, b"answer"))
    number = two.connect(1, 0)
    two.after(1).say(number, CLIENT, b"question").say(number, SERVER, b"answer").fin(number, CLIENT, SERVER)
    tape = altered(two.end())
    for life, address in zip(tape.lives, ("10.0.0.2", "10.0.0.1"), strict=True):
        life.process = replace(life.process, addresses=(IPv4Address(address),))
    found = compare(make_halves(altered(one.end()), tape), ReplayOptions())
    assert found.is_same and found.processes == (("app", "h-10-0-0-1"), ("db", "h-10-0-0-2"))


def test_a_process_of_one_recording_only_is_told_by_its_name() -> None:
    one, two = TapeWriter("app", "db"), TapeWriter("app", "db", "new")
    for writer in (one, two):
        talk(writer, (CLIENT, b"question"), (SERVER, b"answer"))
    number = two.connect(2, DB)
    two.say(number, CLIENT, b"me too").fin(number, CLIENT, SERVER)
    found = difference(one.end(), two.end())
    assert found.processes == (("", "new"),)
    assert found.verdict.first is not None and found.verdict.first.process == "new"
    assert not difference(two.end(), one.end()).is_same


def test_a_server_port_that_a_kernel_chose_may_be_another() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    for writer, port in ((one, 40001), (two, 51234)):
        talk(writer, (CLIENT, b"LIST"), (SERVER, b"a\nb\n"), port=port)
    assert difference(one.end(), two.end()).is_same


# -- Datagrams


def post(*payloads: bytes, port: int = 5000, answers: bool = True) -> Tape:
    writer = TapeWriter("app", "db")
    for number, payload in enumerate(payloads):
        writer.after(1).datagram(APP, DB, (port + number, 53), payload)
        if answers:
            writer.after(1).datagram(DB, APP, (53, port + number), b"re: " + payload)
    return writer.end()


def test_datagrams_are_the_same_from_whatever_port() -> None:
    found = difference(post(b"one", b"two"), post(b"one", b"two", port=6000)).verdict
    assert not found.has_diverged and (found.datagrams, found.datagrams_matched) == (4, 4)


def test_a_network_may_repeat_and_reorder_datagrams() -> None:
    one, two = post(b"one", b"two", b"three"), post(b"two", b"one", b"two", b"three")
    assert difference(one, two).is_same
    assert not difference(one, two, udp=Strictness.STRICT).is_same
    assert not difference(one, post(b"one", b"two"), udp=Strictness.LOSSY).is_same
    assert difference(one, post(b"other"), udp=Strictness.OFF).is_same


def test_a_datagram_that_differs_is_told_once_with_its_bytes() -> None:
    verdict = difference(post(b"one", b"two"), post(b"one", b"tow")).verdict
    assert verdict.divergence_count == 1 and verdict.first is not None
    assert (verdict.first.process, verdict.first.expected, verdict.first.actual) == ("app", b"two", b"tow")


def test_an_answer_that_repeats_an_identity_is_the_same() -> None:
    def query(identity: bytes) -> Tape:
        writer = TapeWriter("app", "db")
        writer.datagram(APP, DB, (5000, 53), identity + b"name?")
        writer.after(1).datagram(DB, APP, (53, 5000), identity + b"address")
        return writer.end()

    one, two = query(b"\x12\x34"), query(b"\x56\x78")
    assert not difference(one, two).is_same
    assert difference(one, two, echo=(EchoRule(0, 2, 53),)).is_same


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from((APP, DB)), st.sampled_from((b"a", b"bb", b"ab"))), min_size=1, max_size=8
    ),
    st.integers(0, 7),
    st.sampled_from(list(Strictness)[:2]),
)
def test_another_byte_in_any_datagram_is_found(
    said: list[tuple[int, bytes]], which: int, strictness: Strictness
) -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    which %= len(said)
    for writer in (one, two):
        writer.datagram(APP, DB, (5000, 53), b"hello")
        for place, (sender, payload) in enumerate(said):
            ports = (5000, 53) if sender == APP else (53, 5000)
            is_other = writer is two and place == which
            writer.after(1).datagram(sender, 1 - sender, ports, b"z" + payload[1:] if is_other else payload)
    first, second = one.end(), two.end()
    assert difference(first, first, udp=strictness).is_same
    assert not difference(first, second, udp=strictness).is_same
    other_way = difference(second, first, udp=strictness)
    # A network may lose one, and repeat another that is the same as this.
    is_forgiven = strictness is Strictness.LOSSY and len(other_way.verdict.notes) == 2
    assert not other_way.is_same or is_forgiven


# -- Redaction


def test_what_is_redacted_in_either_recording_may_be_anything_as_long() -> None:
    plain, secret, longer = asked(b"pw=hunter2&q"), asked(b"pw=xxxxxxx&q"), asked(b"pw=hunter22&q")

    def redacted(tape: Tape) -> Tape:
        tape.redactions.streams[0, CLIENT] = [(3, 10)]
        tape.redactions.streams[0, SERVER] = [(13, 20)]
        return tape

    def found(one: Tape, two: Tape) -> Difference:
        return compare(make_halves(one, two), ReplayOptions())

    assert not found(altered(plain), altered(secret)).is_same
    for one, two, is_same in ((plain, secret, True), (longer, secret, False)):
        assert found(altered(one), redacted(altered(two))).is_same == is_same
        assert found(redacted(altered(two)), altered(one)).is_same == is_same
        assert not found(redacted(altered(two)), altered(one)).verdict.notes


# -- Limits


def test_a_byte_in_the_middle_of_much_is_found() -> None:
    one, two = (TapeWriter("app", "db") for _ in range(2))
    bulk = bytes(range(256)) * 4096
    number = one.connect(APP, DB)
    one.say(number, SERVER, bulk).fin(number, SERVER, CLIENT)
    number = two.connect(APP, DB)
    two.say(number, SERVER, other_byte(777_777)(bulk)).fin(number, SERVER, CLIENT)
    verdict = difference(one.end(), two.end(), b"Date: .*").verdict
    assert verdict.first is not None and verdict.first.offset == 777_777


def test_long_streams_that_begin_alike_find_each_other() -> None:
    tails = [b"x" * 200_000 + b"%d" % number for number in range(4)]
    two = asked(*reversed(tails))
    found = difference(asked(*tails), two)
    assert found.is_same and found.verdict.rematched


def test_an_altered_tape_is_a_copy_else() -> None:
    tape = asked(b"one")
    copy = altered(tape, Change())
    assert shown(copy) == shown(tape) and CHUNK
