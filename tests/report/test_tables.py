"""A recording as Parquet: what the tables hold, in which groups, and that they appear whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dump.making import FAMILIES, RUN, WALL_NS, create, every_ending, opened, say, writing
from dump.test_tunreplay import SAMPLE
from journey.readme import README, read_blocks

from needs import cannot_run
from netplayground.cli.main import main
from netplayground.dump.model import CLIENT, SERVER
from netplayground.dump.reader import open_dump
from netplayground.packet import udp
from netplayground.report import tables

DB, APP = (process.addresses[0].packed for process in RUN.processes)
NAMES = ["chunks.parquet", "connections.parquet", "datagrams.parquet", "events.parquet"]
Capsys = pytest.CaptureFixture[str]


def parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        cannot_run("needs pyarrow")
    return pyarrow.parquet


def duckdb() -> Any:
    parquet()
    try:
        import duckdb
    except ImportError:
        cannot_run("needs duckdb")
    return duckdb


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "d.traffic"
    app, db = (process.addresses[0].packed for process in RUN.processes[::-1])
    with writing(path) as writer:
        for family in FAMILIES:
            every_ending(writer, family)
        batch = writer.datagrams()
        batch.put(udp.emit_packet(app, 5, db, 53, b"who?"))
        batch.commit()
        writer.fact("process-started", process="db")
    return path


def export(dump: Path, *words: str) -> Path:
    folder = dump.parent / "tables"
    assert main(["export", str(dump), "-o", f"{folder}/", "--parquet", *words]) == 0
    return folder


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet().read_table(folder / f"{table}.parquet").to_pylist()
    return found


def test_each_table_has_what_the_dump_tells(dump: Path, capsys: Capsys) -> None:
    parquet()
    folder = export(dump)
    connections, chunks, events, datagrams = (
        rows(folder, table) for table in ("connections", "chunks", "events", "datagrams")
    )
    with open_dump(dump) as original:
        assert len(connections) == len(original.connections) == 18
        assert [row["ending"] for row in connections] == [each.ending.value for each in original.connections]
        assert [(row["bytes_to_server"], row["bytes_to_client"]) for row in connections] == [
            each.bytes for each in original.connections
        ]
        told = [event for _, event in original.all_events()]
        payloads = [original.payload(event) for event in told if event.length]
    assert [row["payload"] for row in chunks] == payloads
    assert len(events) + len(chunks) == len(told) + 3  # two connects without an answer, one process
    started = events[-1]
    assert (started["kind"], started["process"]) == ("process-started", "db")
    assert json.loads(started["fields"]) == {"process": "db"}
    (datagram,) = datagrams
    assert (datagram["sender"], datagram["receiver"], datagram["payload"]) == ("app", "db", b"who?")
    assert {row["dump"] for row in (*connections, *chunks, *events, *datagrams)} == {str(dump)}
    count = len(connections) + len(chunks) + len(events) + 1
    assert capsys.readouterr().err == f"plg: {folder}: {count} rows\n"


def test_times_are_nanoseconds_of_utc(dump: Path) -> None:
    table = parquet().read_table(export(dump) / "connections.parquet")
    assert str(table.schema.field("opened").type) == "timestamp[ns]"
    first = table.column("opened")[0].value
    assert WALL_NS < first < WALL_NS + 10_000


def test_positions_count_in_each_direction(tmp_path: Path) -> None:
    parquet()
    with writing(tmp_path / "d") as writer:
        one, other = opened(writer), opened(writer, 6, 40001)
        for connection, side, data in ((one, 0, b"ab"), (other, 0, b"c"), (one, 1, b"d"), (one, 0, b"e")):
            say(connection, side, data)
    found = [
        (row["connection"], row["side"], row["position"], row["length"])
        for row in rows(export(tmp_path / "d"), "chunks")
    ]
    assert found == [(0, "client", 0, 2), (1, "client", 0, 1), (0, "server", 0, 1), (0, "client", 2, 1)]


def test_a_row_group_is_as_large_as_memory_is_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_ROWS", 10)
    monkeypatch.setattr(tables, "_PAYLOAD", 1000)
    with writing(tmp_path / "d") as writer:
        connection = opened(writer)
        for number in range(25):
            say(connection, CLIENT, bytes([number]))
        for _ in range(3):
            say(connection, SERVER, bytes(999))
    file = parquet().ParquetFile(export(tmp_path / "d") / "chunks.parquet")
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert sizes == [10, 10, 6, 2]


def test_one_connection_alone(dump: Path) -> None:
    parquet()
    folder = export(dump, "--conn", "1", "--conn", "7")
    assert [row["connection"] for row in rows(folder, "connections")] == [1, 7]
    assert {row["connection"] for row in rows(folder, "events")} == {1, 7}
    assert rows(folder, "datagrams") == []


def test_files_are_for_their_owner_and_replace_older_ones(dump: Path) -> None:
    parquet()
    assert export(dump) == export(dump)
    folder = dump.parent / "tables"
    assert sorted(os.listdir(folder)) == NAMES
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in NAMES} == {0o600}


@pytest.mark.parametrize("was_there", [True, False])
def test_what_fails_leaves_nothing(dump: Path, capsys: Capsys, was_there: bool) -> None:
    parquet()
    folder = dump.parent / "tables"
    if was_there:
        folder.mkdir()
    with dump.open("r+b") as file:  # an event's block that is none: found in the midst of the walk
        file.seek(2000)
        file.write(bytes(64))
    assert main(["export", str(dump), "-o", f"{folder}/", "--parquet"]) == 125
    assert "damaged at byte" in capsys.readouterr().err
    assert folder.exists() == was_there and (not was_there or os.listdir(folder) == [])


def test_without_pyarrow_it_says_what_to_install(
    dump: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["export", str(dump), "-o", f"{dump.parent}/t/", "--parquet"]) == 125
    assert "pip install 'netplayground[parquet]'" in capsys.readouterr().err
    assert not (dump.parent / "t").exists()


@pytest.mark.parametrize("words", [["--parquet"], ["--parquet", "--json", "-o", "x/"]])
def test_tables_need_a_folder(dump: Path, capsys: Capsys, words: list[str]) -> None:
    assert main(["export", str(dump), *words]) == 2
    assert "--parquet needs a folder" in capsys.readouterr().err


def test_a_file_is_no_folder(dump: Path, capsys: Capsys) -> None:
    parquet()
    file = dump.with_name("file")
    file.write_bytes(b"as it was")
    assert main(["export", str(dump), "-o", str(file), "--parquet"]) == 125
    assert capsys.readouterr().err == f"plg: cannot write {file}: File exists\n"
    assert file.read_bytes() == b"as it was"


def test_the_queries_of_the_readme_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    duck = duckdb()
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        path = Path(f"run-{number}.traffic")
        with writing(path) as writer:
            talk = opened(writer)
            say(talk, CLIENT, b"question")
            say(talk, SERVER, b"-ERR no" if number == 2 else b"+OK")
        assert main(["export", str(path), "-o", f"tables/run-{number}/", "--parquet"]) == 0
    (block,) = (block for block in read_blocks(README.read_text()) if block.kind == "sql")
    queries = block.text.strip().split("\n\n")
    assert len(queries) == 3
    most, slowest, errors = (duck.sql(query).fetchall() for query in queries)
    assert most == [("db", 80, 2, 10)]
    assert {row[:2] for row in slowest} == {("run-1.traffic", 0), ("run-2.traffic", 0)}
    assert {row[2] for row in slowest} == {timedelta(microseconds=1)}
    assert [(row[0], row[2], row[4]) for row in errors] == [("run-2.traffic", "db", 0)]


def test_odd_recordings_stand_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty, torn, of datagrams alone, of the original program: the queries go over them all."""
    duck = duckdb()
    monkeypatch.chdir(tmp_path)
    with writing(Path("empty")):
        pass
    torn = create(Path("torn"))
    say(opened(torn), CLIENT, b"and then?")
    torn.close(complete=False)
    with writing(Path("datagrams")) as writer:
        batch = writer.datagrams()
        batch.put(udp.emit_packet(DB, 7, APP, 7, b"hello"))
        batch.commit()
    Path("original").write_bytes(SAMPLE.read_bytes())
    for name in ("empty", "torn", "datagrams", "original"):
        assert main(["export", name, "-o", f"tables/{name}/", "--parquet"]) == 0
        assert sorted(os.listdir(f"tables/{name}")) == NAMES
    for table, counts in (
        ("connections", [("original", 3), ("torn", 1)]),
        ("datagrams", [("datagrams", 1)]),
    ):
        query = f"SELECT dump, count(*) FROM 'tables/*/{table}.parquet' GROUP BY ALL ORDER BY dump"
        assert duck.sql(query).fetchall() == counts
    ends = "SELECT closed, ending FROM 'tables/torn/connections.parquet'"
    assert duck.sql(ends).fetchall() == [(None, "open")]
