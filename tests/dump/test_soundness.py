"""A byte that changed is found before it is used, and only where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from dump.making import create, opened, say, writing

from netplayground.dump.index import WINDOW
from netplayground.dump.model import CLIENT
from netplayground.dump.recording import open_recording
from netplayground.dump.soundness import Soundness
from netplayground.errors import DamagedDumpError

PLACE = WINDOW + WINDOW // 2


def spoil(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def test_all_of_a_whole_dump_is_sound(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"x" * (2 * WINDOW))
    with open_recording(tmp_path / "d") as recording:
        soundness = Soundness(recording)
        for offset in (0, 1000, PLACE, 2 * WINDOW):
            soundness.assure(offset, 1)
        soundness.assure(0, 2 * WINDOW + 1000)


def test_a_changed_byte_spoils_its_window_and_no_other(tmp_path: Path) -> None:
    with writing(tmp_path / "d") as writer:
        say(opened(writer), CLIENT, b"x" * (3 * WINDOW))
    spoil(tmp_path / "d", PLACE)
    with open_recording(tmp_path / "d") as recording:
        soundness = Soundness(recording)
        soundness.assure(0, WINDOW)
        soundness.assure(2 * WINDOW, WINDOW)
        soundness.assure(PLACE, 0)
        for offset, length in ((PLACE, 1), (WINDOW, 1), (0, WINDOW + 1), (2 * WINDOW - 1, 2)):
            with pytest.raises(DamagedDumpError) as caught:
                soundness.assure(offset, length)
            assert caught.value.offset == WINDOW


def test_a_torn_dump_has_nothing_to_compare(tmp_path: Path) -> None:
    writer = create(tmp_path / "d")
    say(opened(writer), CLIENT, b"x" * WINDOW)
    writer.close(complete=False)
    spoil(tmp_path / "d", WINDOW // 2)
    with open_recording(tmp_path / "d") as recording:
        Soundness(recording).assure(0, WINDOW)
