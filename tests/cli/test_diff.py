"""`plg diff`: what it says, its statuses, and that nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dump.making import WALL_NS, create, every_ending, opened, say, writing
from dump.test_tunreplay import emit
from dump.test_tunreplay import talk as original

from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER

DATE = b"Date: Sat, 21 Nov 2026 10:03:3%d GMT\r\n"


def dump(path: Path, *answers: bytes, second: int = 0) -> Path:
    """A connection for each answer."""
    with writing(path, wall_ns=WALL_NS + second * 1_000_000_000) as writer:
        for number, answer in enumerate(answers):
            connection = opened(writer, port=40000 + number)
            say(connection, CLIENT, b"question")
            say(connection, SERVER, answer)
            connection.fin(CLIENT)
            connection.fin(SERVER)
        for name in ("app", "db"):
            writer.fact("process-ended", process=name)
    return path


def diff(*words: object) -> int:
    return main(["diff", *map(str, words)])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two that differ in one byte of the second connection."""
    return dump(tmp_path / "a", b"same", b"answer"), dump(tmp_path / "b", b"same", b"answem")


def test_recordings_that_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = dump(tmp_path / "a", b"x", b"yy"), dump(tmp_path / "b", b"yy", b"x")
    assert diff(one, other) == 0
    said = capsys.readouterr()
    figures = "100 % of 2 connections and 19 bytes as recorded, 2 reordered, 1 rematched"
    assert (said.out, said.err) == (f"{one} and {other} say the same: {figures}\n", "")


def test_a_difference_is_shown_with_its_bytes(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff(*two) == 3
    first, expected, actual, last = capsys.readouterr().out.splitlines()
    assert first == "different: db, connection 1 app -> db:80, byte 5: said other bytes than recorded"
    assert expected == f"  expected         0  {'61 6e 73 77 65 72':48} answer"
    assert actual == f"  actual           0  {'61 6e 73 77 65 6d':48} answem"
    assert last.startswith(f"{two[0]} and {two[1]} differ: 50 % of 2 connections")
    assert last.endswith("1 difference")


def test_only_the_first_are_shown_unless_all_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = dump(tmp_path / "a", *(b"one %d" % number for number in range(12)))
    other = dump(tmp_path / "b", *(b"two %d" % number for number in range(12)))
    assert diff(one, other) == 3
    said = capsys.readouterr().out
    assert said.count("different:") == 10 and "… and 2 differences more (--all shows them)" in said
    assert diff("--all", one, other) == 3
    assert capsys.readouterr().out.count("different:") == 12


def test_it_is_said_as_json_and_in_a_file(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diff("--json", "--report", tmp_path / "report", *two) == 3
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "report").read_text())
    assert (told["same"], told["status"], told["divergence_count"]) == (False, 3, 1)
    assert (told["only_in_a"], told["only_in_b"], told["processes"]) == ([], [], [])
    assert bytes.fromhex(told["divergences"][0]["actual"]) == b"answem"


def test_rules_come_from_words_and_from_files(two: tuple[Path, Path], tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("# the last letter\n(?<=answe)[a-z]\n--echo 0:2@53\n")
    assert diff("--ignore", "answe.", *two) == 0
    assert diff("--ignore-file", rules, *two) == 0
    assert diff("--ignore-file", rules, "--ignore", "question", *two) == 0


@pytest.mark.parametrize("udp", ["strict", "lossy", "off"])
def test_each_ending_is_the_same_as_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], udp: str
) -> None:
    with writing(tmp_path / "d") as writer:
        every_ending(writer, 4)
        every_ending(writer, 6)
    assert diff("--udp", udp, "--strict-order", tmp_path / "d", tmp_path / "d") == 0
    assert "note" not in capsys.readouterr().out


def test_a_torn_dump_is_compared_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = dump(tmp_path / "a", b"answer", b"more")
    writer = create(tmp_path / "torn")
    connection = opened(writer)
    say(connection, CLIENT, b"question")
    writer.close(complete=False)
    for pair in ((whole, tmp_path / "torn"), (tmp_path / "torn", whole)):
        assert diff(*pair) == 0
        said = capsys.readouterr().out
        assert "torn: " in said and "lacks the end of the run and its index" in said


def test_dumps_of_the_original_program_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, answer in (("a", b"answer"), ("b", b"answem")):
        said = (CLIENT, b"question"), (SERVER, answer), (CLIENT, b""), (SERVER, b"")
        (tmp_path / name).write_bytes(emit(original(*said)))
    assert diff(tmp_path / "a", tmp_path / "a") == 0
    assert diff(tmp_path / "a", tmp_path / "b") == 3
    assert "answem" in capsys.readouterr().out


# -- Rules are learned


def test_what_is_learned_is_used_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [dump(tmp_path / str(second), DATE % second, second=second) for second in (1, 2, 3)]
    rules = tmp_path / "rules"
    assert diff("--learn", "-o", rules, *paths[:2]) == 0
    assert capsys.readouterr().err == "plg: 1 rule: under them the recordings say the same\n"
    assert len([line for line in rules.read_text().splitlines() if not line.startswith("#")]) == 1
    assert diff(paths[0], paths[2]) == 3
    assert diff("--ignore-file", rules, paths[0], paths[2]) == 0
    assert diff("--learn", "--ignore-file", rules, *paths) == 0
    assert capsys.readouterr().err.endswith("0 rules: under them the recordings say the same\n")


def test_runs_of_one_second_teach_nothing_of_clocks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once = [dump(tmp_path / name, b"id: %d" % number) for number, name in enumerate("ab")]
    assert diff("--learn", *at_once) == 0
    assert "made within one second" in capsys.readouterr().err
    later = dump(tmp_path / "c", b"id: 7", second=1)
    assert diff("--learn", *at_once, later) == 0
    assert "second" not in capsys.readouterr().err


def test_rules_go_to_stdout_where_no_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [dump(tmp_path / str(second), DATE % second) for second in (1, 2)]
    assert diff("--learn", *paths) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("# what differs between ") and said[2].startswith("(?<=Date: )")


def test_rules_that_are_not_enough_are_written_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = dump(tmp_path / "a", DATE % 1), dump(tmp_path / "b", DATE % 2, b"one more")
    assert diff("--learn", "-o", tmp_path / "rules", one, other) == 3
    said = capsys.readouterr().err
    assert "which are not enough" in said and "opened a connection that A does not have" in said
    assert "# not enough" in (tmp_path / "rules").read_text()


# -- Bad words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a"], "cannot compare 1 recording: give two"),
        (["a", "b", "c"], "cannot compare 3 recordings: give two"),
        (["--learn", "a"], "cannot compare 1 recording: give two or more"),
        (["-o", "x", "a", "b"], "cannot use -o without --learn"),
        (["--learn", "--json", "a", "b"], "cannot use --json, --report or --all with --learn"),
        (["--ignore", "(", "a", "b"], "cannot use --ignore '(': "),
        (["--echo", "x", "a", "b"], "cannot use --echo x: "),
        (["--ignore-file", "bad", "a", "b"], "(line 2 of bad)"),
        (["--report", "a", "a", "b"], "cannot write a: it is read"),
        (["--learn", "-o", "b", "a", "b"], "cannot write b: it is read"),
        (["--udp", "some", "a", "b"], "'some' is not one of"),
        ([], "missing argument"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    two: tuple[Path, Path],
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(two[0].parent)
    Path("bad").write_text("# rules\n(\n")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert diff(*words) == 2
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and not said.out
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"", "the file is empty"),
        (b"no dump at all, nor a capture", "nor is it a capture"),
    ],
)
def test_what_cannot_be_read_is_said(
    two: tuple[Path, Path], content: bytes | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = two[0].with_name("other")
    if content is not None:
        other.write_bytes(content)
    for pair in ((two[0], other), (other, two[0])):
        assert diff(*pair) == 125
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1


def test_damage_is_not_taken_for_a_difference(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    octets = two[1].read_bytes()
    two[1].write_bytes(octets.replace(b"answem", b"answer"))
    assert diff(*two) == 125
    assert "CRC-32" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said(
    two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--report"], ["--learn", "-o"]):
        assert diff(*words, two[0].parent / "none" / "file", *two) == 125
        assert "cannot write" in capsys.readouterr().err
