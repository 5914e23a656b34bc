"""Each example of the README runs as it is printed, in a reader's fresh folder, with the real programs.

Each section but the first begins with the dump that the first example records. What a section's reader has of
his own (his server, his tests, the packets on his wire) is laid there by `PREPARED` (reader.py).
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from journey.reader import DEADLINE_S, PREPARED, Reader, nothing
from journey.readme import KINDS, README, Block, indented_blocks, read_blocks, shows
from journey.runs import Ended, Place, Run, running

from needs import cannot_run, needs_program, needs_tun

FIRST = "Record"
BLOCKS = read_blocks(README.read_text(encoding="utf-8"))

NOT_RUN = {
    "pip install .": "it asks PyPI",
    "./scripts/demo      # records a small web server and its visitor, prints what they said": "it asks PyPI",
    "sudo apt-get install -y redis-server && pip install netplayground": "it changes the host and asks PyPI",
    'echo \'KERNEL=="tun", MODE="0666"\' > /etc/udev/rules.d/50-tun.rules': "it changes the host",
    "docker build -t plg .": "it needs a Docker engine and Debian's mirrors",
    "./scripts/check         # ruff, ruff format, mypy --strict": "these are the tests themselves",
}
"""The blocks that are not run, by their first line, and why; they are parsed all the same."""


def examples() -> Iterator[Block]:
    """All blocks, and the steps of jobs."""
    for block in BLOCKS:
        yield block
        if block.kind == "yaml":
            yield from block.steps()


def section(name: str) -> list[Block]:
    return [block for block in examples() if block.section == name]


SECTIONS = list(dict.fromkeys(block.section for block in BLOCKS if block.kind != "text"))


@pytest.mark.parametrize(
    ("excerpt", "is_there"),
    [
        ("plg: two 0.5 s\n", True),
        ("plg: a.traffic: 9 bytes, 7.25 s\nthree\n", True),
        ("plg: two 0.5 s\nthree\n", False),
        ("…\nthree\n", True),
        ("plg: t…s\n…\nthree\n", True),
        ("plg: two\n", False),
        ("plg: a.traffic: 9 bytes, …\n", True),
    ],
)
def test_an_excerpt_is_whole_lines_that_stand_together(excerpt: str, is_there: bool) -> None:
    output = "one\nplg: two 0.123 s\nplg: a.traffic: 2,676 bytes, 0.116 s\nthree\n"
    assert shows(output, excerpt) is is_there


def test_blocks_are_read_with_their_section_kind_and_place() -> None:
    text = (
        "## One\n\n```sh\nls     # status 3\n```\n\n```\n    code\n```\n\n    code\n    more\n"
        "## Two\n~~~text\na\n~~~\n"
    )
    first, second, third = read_blocks(text)
    assert (first.section, first.line, first.kind, first.status) == ("One", 3, "sh", 3)
    assert (second.kind, third.section, third.text) == ("", "Two", "a\n")
    assert indented_blocks(text) == [11]
    with pytest.raises(ValueError, match="the block at line 2 does not end"):
        read_blocks("\n```sh\nls\n")


def test_the_steps_of_a_job_are_blocks() -> None:
    job = "steps:\n  - run: one\n  - uses: two\n  - run: |\n      three \\\n        four\n  - run: five\n"
    steps = Block("CI", 10, "yaml", job).steps()
    assert [(step.line, step.text) for step in steps] == [
        *((12, "one"), (14, "three \\\n  four\n"), (17, "five")),
    ]


def test_each_block_says_what_it_is() -> None:
    assert [block for block in BLOCKS if block.kind not in KINDS] == []
    assert indented_blocks(README.read_text(encoding="utf-8")) == []


def test_what_is_not_run_is_there_and_can_be_parsed() -> None:
    named = [block for block in examples() if block.name in NOT_RUN]
    assert sorted(block.name for block in named) == sorted(NOT_RUN)
    for block in named:
        assert block.kind == "sh"
        subprocess.run(["sh", "-n"], input=block.text.encode(), check=True)


def test_each_link_within_the_page_leads_somewhere() -> None:
    text = README.read_text(encoding="utf-8")
    titles = [line.lstrip("#").strip() for line in text.splitlines() if re.match("##+ ", line)]
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    links = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert links and links <= anchors


def test_a_first_test_is_ten_lines() -> None:
    first = next(block for block in BLOCKS if block.kind == "python" and "def test_" in block.text)
    assert first.section == "With pytest" and len(first.text.splitlines()) <= 10


def test_a_reader_has_something_to_prepare_for() -> None:
    assert set(PREPARED) <= set(SECTIONS)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_runs_as_it_is_printed(place: Place, name: str) -> None:
    todo = [block for block in section(name) if block.name not in NOT_RUN]
    needed(todo)
    reader = Reader(place.folder("reader"))
    with PREPARED.get(name, nothing)(reader):
        if name != FIRST and todo:
            follow(reader, [next(block for block in section(FIRST) if block.kind == "sh")])
        follow(reader, todo)


def needed(blocks: list[Block]) -> None:
    """What a section's blocks ask for beside plg."""
    said = " ".join(block.text for block in blocks)
    if any(block.kind in ("sh", "python") for block in blocks):
        needs_tun()
        needs_program("redis-server", "redis-cli")  # of the first example
    needs_program(*(name for name in ("tcpdump", "tshark") if f"{name} -" in said))
    for name, module in (("--parquet", "pyarrow"), ("SELECT", "duckdb")):
        if name in said and importlib.util.find_spec(module) is None:
            cannot_run(f"needs {module}")


def follow(reader: Reader, blocks: list[Block]) -> None:
    """Do what the blocks of a section say, one after another."""
    printed = ""
    for at, block in enumerate(blocks):
        if block.kind == "text":
            assert shows(printed, block.text), f"line {block.line} shows\n{block.text}\nbut it was\n{printed}"
        elif block.file is not None:
            path = reader.path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            used = [later for later in blocks[at:] if later.kind == "sh" and _uses(later, block)]
            assert used or block.kind == "yaml", f"line {block.line}: nothing is done with {block.file}"
        else:
            printed = DO[block.kind](reader, block)


def _uses(command: Block, file: Block) -> bool:
    assert file.file is not None
    runs_tests = "pytest" in command.text and Path(file.file).name.startswith(("test_", "conftest", "pyp"))
    return runs_tests or file.file in command.text


def _sh(reader: Reader, block: Block) -> str:
    where = nothing() if reader.wire is None else reader.wire.here.entered()
    # Ctrl-C is for the command; a shell before it would wait.
    words = ["sh", "-e", "-c", f"exec 2>&1\n{'exec ' if block.is_interrupted else ''}{block.text}"]
    with where, running(reader, words) as run:
        ended = run.wait(DEADLINE_S) if not block.is_interrupted else _interrupted(reader, block, run)
    assert ended.status == block.status, f"line {block.line}: {block.text}\n{ended}"
    return ended.stdout


def _interrupted(reader: Reader, block: Block, run: Run) -> Ended:
    """Let there be something to capture, then ^C, once the file has some of it."""
    words = shlex.split(block.text, comments=True)
    file = reader.path / words[words.index("-w" if "-w" in words else "-f") + 1]
    before = file.stat() if file.exists() else None
    assert reader.wire is not None

    def is_over() -> bool:
        now = file.stat() if file.exists() else None
        is_new = now is not None and (before is None or now.st_mtime_ns != before.st_mtime_ns)
        return run.process.poll() is not None or (is_new and now is not None and now.st_size > 1 << 16)

    reader.wire.asked_until(is_over)
    run.process.send_signal(signal.SIGINT)
    return run.wait(DEADLINE_S)


def _python(reader: Reader, block: Block) -> str:
    assert "def test_" not in block.text, f"line {block.line}: tests need a file's name in their first line"
    script = reader.file("example.py", block.text)
    return _sh(reader, Block(block.section, block.line, "sh", f"python {script.name}\n"))


def _sql(reader: Reader, block: Block) -> str:
    text = "import duckdb, sys\nfor query in sys.argv[1].split(';\\n'): print(duckdb.sql(query))"
    query = shlex.quote(block.text.strip().rstrip(";"))
    return _sh(reader, Block(block.section, block.line, "sh", f"python -c {shlex.quote(text)} {query}\n"))


DO: dict[str, Callable[[Reader, Block], str]] = {"sh": _sh, "python": _python, "sql": _sql}
