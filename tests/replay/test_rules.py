"""Files of rules: what they hold, and that what is none is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.errors import UsageError
from netplayground.replay.options import EchoRule
from netplayground.replay.rules import Rules, emit_rules, parse_rules

FILE = b"# dates\n(?<=Date: )[^\\r\\n]*\n\n--echo 0:2@53\nend with a blank \n\\# no comment\n"
RULES = Rules((b"(?<=Date: )[^\\r\\n]*", b"end with a blank ", b"\\# no comment"), (EchoRule(0, 2, 53),))


def test_a_file_holds_a_rule_a_line_and_comments() -> None:
    assert parse_rules(FILE, "rules") == RULES
    assert parse_rules(FILE.replace(b"\n", b"\r\n"), "rules") == RULES
    assert parse_rules(FILE.removesuffix(b"\n"), "rules") == RULES
    assert parse_rules(b"", "rules") == Rules()


def test_what_is_written_is_read() -> None:
    lines = "".join(f"{line}\n" for line in emit_rules(RULES, [("one", "two"), (), ("three",)]))
    assert parse_rules(lines.encode(), "rules") == RULES
    assert lines.startswith("# one\n# two\n(?<=Date")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"(", "cannot use --ignore '(': "),
        (b"(?=x)", "matches the empty string only"),
        (b"--echo 0:2", "not like OFFSET:LEN@PORT"),
        (b"--echo 0:0@53", "no datagram has such bytes"),
        (b"--echo \xff", "not like OFFSET:LEN@PORT"),
    ],
)
def test_what_is_no_rule_is_refused_with_its_line(line: bytes, says: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_rules(b"# first\n" + line, "my rules")
    assert says in str(told.value) and str(told.value).endswith("(line 2 of my rules)")


@given(st.binary(max_size=60))
def test_any_bytes_are_rules_or_refused(octets: bytes) -> None:
    try:
        rules = parse_rules(octets, "rules")
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert all(rule and b"\n" not in rule for rule in rules.ignore)
