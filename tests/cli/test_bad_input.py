"""Whatever is wrong with its input or its output, a command says so in one line and leaves nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dump.making import every_ending, writing

from netplayground.cli.main import main

Capsys = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Command:
    """A command line: IN stands for what it reads, OUT for what it writes."""

    words: str
    usage: int = 125
    """The status where its input is not what it should be."""

    def line(self, given: str, output: str = "out") -> list[str]:
        return [word.replace("IN", given).replace("OUT", output) for word in self.words.split()]


READ = {
    "show": Command("show IN"),
    "show json": Command("show --json IN"),
    "show conn": Command("show --conn 0 IN"),
    "check": Command("check IN"),
    "export lines": Command("export IN --json"),
    "diff A": Command("diff IN good"),
    "diff B": Command("diff good IN"),
    "replay": Command("--replay -f IN db:true"),
    "sweep": Command("replay --sweep -f IN"),
}
WRITE = {
    "report": Command("report IN -o OUT"),
    "report replay": Command("report good --replay IN -o OUT"),
    "redact": Command("redact IN -o OUT --pattern x"),
    "export pcap": Command("export IN -o OUT.pcap"),
    "export pcapng": Command("export IN -o OUT.pcapng"),
    "export json": Command("export IN --json -o OUT"),
    "export streams": Command("export IN -o OUT/"),
    "export tables": Command("export IN -o OUT/ --parquet"),
    "import": Command("import IN -f OUT"),
    "procfile": Command("--record -f OUT --procfile IN", usage=2),
}
FILES = {
    "missing": ("No such file or directory",),
    "folder": ("not a regular file", "Is a directory"),
    "empty": ("the file is empty", "not JSON", "no process is in it"),
    "text": ("not a dump", "neither a pcap nor a pcapng file", "not JSON", "line 1 is not like"),
    "noise": ("not a dump", "neither a pcap nor a pcapng file", "not JSON", "a zero byte is in it"),
    "head": ("cut off at byte 100, nothing whole is left", "not JSON", "a zero byte is in it"),
    "tail": ("it does not end with a footer", "not JSON", "a zero byte is in it"),
}


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with good and bad files; whoever makes another one in it removes it."""
    place, home = tmp_path_factory.mktemp("bad"), Path.cwd()
    with writing(place / "good") as writer:
        every_ending(writer, 4)
    good = (place / "good").read_bytes()
    (place / "empty").write_bytes(b"")
    (place / "text").write_text("a letter, which is no dump\n" * 20)
    (place / "noise").write_bytes(bytes(range(255, -1, -1)) * 20)
    (place / "head").write_bytes(good[:100])
    (place / "tail").write_bytes(good[:-100])
    (place / "Procfile").write_text("web: true\n")
    (place / "folder").mkdir()
    os.chdir(place)
    yield place
    os.chdir(home)


def fails(words: list[str], status: int, capsys: Capsys) -> str:
    """What a command says that ends so: one line; all files are as they were."""
    before = state()
    assert main(words) == status, words
    captured = capsys.readouterr()
    assert captured.out == "" and state() == before
    assert captured.err.startswith("plg: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def state() -> dict[str, tuple[int, int]]:
    """All files here, hidden ones too."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in Path().rglob("*")
        if not path.is_dir() or path.name.startswith((".", "out"))
    }


# A dump is a pcapng file: what is left of one is a capture.
CASES = [
    (name, given)
    for name in (*READ, *WRITE)
    for given in FILES
    if name != "import" or given not in ("head", "tail")
]


@pytest.mark.parametrize(("name", "given"), CASES)
def test_input_that_is_not_what_it_should_be(name: str, given: str, capsys: Capsys) -> None:
    command = {**READ, **WRITE}[name]
    said = fails(command.line(given), command.usage, capsys)
    assert given in said and any(cause in said for cause in FILES[given]), said


OUTPUTS = {
    "none/out": "No such file or directory",
    "good/out": "Not a directory",
    "x" * 250 + "/none/out": "No such file or directory",
    "x" * 300: "File name too long",
}
# Tables make all folders on the way to theirs.
WRITERS = [
    (name, output)
    for name in (
        "report",
        "redact",
        "export pcap",
        "export json",
        "export streams",
        "export tables",
        "import",
    )
    for output in OUTPUTS
    if name != "export tables" or not output.endswith("none/out")
]


@pytest.mark.parametrize(("name", "output"), WRITERS)
def test_output_that_cannot_be(name: str, output: str, capsys: Capsys) -> None:
    assert OUTPUTS[output] in fails(WRITE[name].line("good", output), 125, capsys)


@pytest.mark.parametrize("name", ["report", "redact", "export json", "import", "procfile", "capture"])
def test_a_folder_is_no_output_file(name: str, capsys: Capsys) -> None:
    commands = {**WRITE, "capture": Command("capture -i lo -f OUT")}
    given = "Procfile" if name == "procfile" else "good"
    assert "cannot write folder: " in fails(commands[name].line(given, "folder"), 125, capsys)


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard"])
@pytest.mark.parametrize("name", ["report", "redact", "export json", "import", "procfile"])
def test_a_command_never_writes_over_what_it_reads(name: str, link: str, capsys: Capsys) -> None:
    given = "Procfile" if name == "procfile" else "good"
    output = given if link == "itself" else "link"
    if link != "itself":
        (os.symlink if link == "symbolic" else os.link)(given, "link")
    try:
        said = fails(WRITE[name].line(given, output), 2, capsys)
    finally:
        Path("link").unlink(missing_ok=True)
    assert f"cannot write {output}: it is what is read" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("show good --explode", "no such option '--explode'"),
        ("explode good", "no such command 'explode'"),
        ("show", "missing argument 'FILE'"),
        ("show --conn 99 good", "connection 99"),
        ("show --conn x good", "'x' is not a valid integer"),
        ("export good", "say where to with -o, or --json"),
        ("export good -o out", "cannot tell what out is to be"),
        ("export good -o out.pcap --mtu 1", "1 is not in the range"),
        ("export good --conn 99 --json", "cannot export connection 99"),
        ("export good --parquet", "--parquet needs a folder"),
        ("redact good -o out --pattern (", "cannot use --pattern '('"),
        ("redact good -o out --pattern x{0}", "it matches the empty string only"),
        ("redact good -o out", "missing option '--pattern'"),
        ("--replay -f good --ignore ( db:true", "cannot use --ignore '('"),
        ("--replay -f good --echo x db:true", "x"),
        ("report good -o out --payload x", "'x' is not a number of bytes"),
        ("import good -f out --name x=y", "cannot name x: not an IP address"),
        ("diff good", "cannot compare 1 recording: give two"),
        ("--record --replay -f good true", "--record and --replay exclude each other"),
        ("--record -f out", "cannot start a run: no COMMAND is given"),
        ("-f out true", "give --record or --replay, or a command"),
        ("doctor now", "unexpected extra argument"),
        ("check good good", "unexpected extra argument"),
    ],
)
def test_a_command_line_that_cannot_be_is_status_2(words: str, message: str, capsys: Capsys) -> None:
    said = fails(words.split(" "), 2, capsys)
    assert message in said, said


def test_a_device_that_is_no_disk_is_never_replaced(capsys: Capsys) -> None:
    for name in ("redact", "import"):
        assert "/dev/null: not a regular file" in fails(WRITE[name].line("good", "/dev/null"), 125, capsys)
    for name in ("report", "export json"):
        assert main(WRITE[name].line("good", "/dev/null")) == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
