"""The README's examples: its fenced blocks, what each is, and whether an output is the one that is printed.

A section (`##`) is one reader's folder. Its blocks run there in order and build on one another: a file that
the first records is replayed by the second. What a block is, its info string says:

    sh        commands; the first that fails ends them. A comment may say `status 3`, how the last one ends,
              or `until Ctrl-C`
    text      an excerpt of what the block before it printed: whole lines that stand together. `…` is any
              text within a line, a line `…` any lines; times in seconds and the sizes of files are any
    python    a script
    procfile  the Procfile
    sql       queries for DuckDB
    yaml      a job of CI: its `run:` steps are blocks of sh

A block whose first line is a comment with a file's name is that file; it is not run itself.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
KINDS = frozenset({"sh", "text", "python", "procfile", "sql", "yaml", "toml", "ini"})

_FENCE = re.compile(r"(?P<fence>`{3,}|~{3,})(?P<kind>.*)")
_FILE = re.compile(r"# (?P<name>\.?[\w./-]+\.\w+)")
_STATUS = re.compile(r"#.*\bstatus (?P<status>\d+)")
_STEP = re.compile(r"^(?P<indent> *)(?:- )?run: (?:\|\n(?P<block>(?:\1 +\S.*\n)+)|(?P<line>[^|\n].*)$)", re.M)
_VARYING = ((re.compile(r"\b\d+\.\d+ s\b"), "# s"), (re.compile(r"^(plg: \S+: )[\d,]+ bytes"), r"\1# bytes"))


@dataclass(frozen=True)
class Block:
    """One fenced block of a section; `line` is where it begins."""

    section: str
    line: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        """Its first line, by which it is known."""
        return self.text.partition("\n")[0].strip()

    @property
    def file(self) -> str | None:
        """The file that it is, if it says so."""
        if self.kind == "procfile":
            return "Procfile"
        found = _FILE.fullmatch(self.name)
        return None if found is None else found["name"]

    @property
    def status(self) -> int:
        """How its commands end."""
        found = _STATUS.search(self.text)
        return 0 if found is None else int(found["status"])

    @property
    def is_interrupted(self) -> bool:
        return "until Ctrl-C" in self.text

    def steps(self) -> Iterator[Block]:
        """What a job of CI runs."""
        for found in _STEP.finditer(self.text):
            text = textwrap.dedent(found["block"] or found["line"])
            line = self.line + 1 + self.text.count("\n", 0, found.start())
            yield Block(self.section, line, "sh", text)


def read_blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown file, in order; ValueError for one that does not end."""
    blocks: list[Block] = []
    section, lines, begin = "", list[str](), 0
    opening: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        found = _FENCE.fullmatch(line)
        if opening is None:
            if line.startswith("## "):
                section = line[3:].strip()
            elif found is not None:
                opening, lines, begin = found, [], number
        elif line.strip() == opening["fence"]:
            text_ = "".join(f"{each}\n" for each in lines)
            blocks.append(Block(section, begin, opening["kind"].strip(), text_))
            opening = None
        else:
            lines.append(line)
    if opening is not None:
        raise ValueError(f"the block at line {begin} does not end")
    return blocks


def indented_blocks(text: str) -> list[int]:
    """The lines at which code begins that is indented, not fenced: nobody says what it is."""
    lines = text.splitlines()
    is_fenced, found = False, []
    for number, line in enumerate(lines):
        if _FENCE.fullmatch(line):
            is_fenced = not is_fenced
        elif not is_fenced and line.startswith("    ") and number and not lines[number - 1].strip():
            found.append(number + 1)
    return found


def shows(output: str, excerpt: str) -> bool:
    """Whether an output has an excerpt of it in it."""
    pattern = "".join(map(_line_pattern, _comparable(excerpt)))
    return re.search(f"^{pattern}", "".join(f"{line}\n" for line in _comparable(output)), re.M) is not None


def _comparable(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for varying, fixed in _VARYING:
            line = varying.sub(fixed, line)
        yield line.rstrip()


def _line_pattern(line: str) -> str:
    return r"(?:.*\n)*?" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
