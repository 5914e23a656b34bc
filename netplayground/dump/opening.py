"""How a dump is opened: is it one, what does its beginning say, and is the index at its end good."""

from __future__ import annotations

from dataclasses import dataclass

from netplayground.dump import blocks
from netplayground.dump.crc import crc32
from netplayground.dump.index import Entry, Footer, parse_directory, parse_footer
from netplayground.dump.model import RunHeader, State
from netplayground.dump.source import Source, Walk
from netplayground.errors import NotADumpError

_STATES = {blocks.STATE_COMPLETE: State.COMPLETE, blocks.STATE_OPEN: State.TORN}


@dataclass(frozen=True, slots=True)
class Opening:
    """What a dump's first blocks say; its events begin at `end`."""

    state: State
    run: RunHeader
    end: int


def read_opening(source: Source) -> Opening:
    """Read the first four blocks."""
    state, version = _read_section(source)
    at = blocks.SECTION_LENGTH
    expected = blocks.emit_interface()
    found = source.read_some(at, len(expected))
    if len(found) < len(expected):
        raise _nothing_left(source)
    if found != expected:
        raise source.damaged("it does not have the one interface of a dump", at)
    names = at + len(expected)
    walk = Walk(source, names, source.size)
    kinds = [(offset, kind, length) for _, (offset, kind, length, _) in zip(range(2), walk, strict=False)]
    if len(kinds) < 2:
        raise _nothing_left(source) if state is State.TORN else source.damaged(walk.broken, walk.offset)
    if kinds[0][1] != blocks.NAMES:
        raise source.damaged("no names where they should be", names)
    offset, _kind, length = kinds[1]
    try:
        run = blocks.parse_run(blocks.parse_fact(source.read_block(offset, length, blocks.FACT)[16:-4]))
    except ValueError as error:
        raise source.damaged(f"its run header cannot be read: {error}", offset) from error
    if blocks.section_version(run.version) != version:
        raise source.damaged("its section header and its run header name two versions", blocks.COMMENT_AT)
    return Opening(state, run, offset + length)


def _read_section(source: Source) -> tuple[State, str]:
    """Read the first block; where it is not what plg writes but a good footer is, the dump is damaged, not
    foreign."""
    first = source.read_some(0, blocks.SECTION_LENGTH)
    try:
        parsed = blocks.parse_section(first)
    except ValueError as error:
        if len(first) == blocks.SECTION_LENGTH and _has_footer(source):
            raise source.damaged("its first block is not what was written", 0) from error
        raise NotADumpError(f"cannot read {source.path}: {error}") from error
    state, version = parsed
    expected = blocks.emit_section(state, version)
    for offset, (is_there, should_be) in enumerate(zip(first, expected, strict=True)):
        if is_there != should_be:
            raise source.damaged("its first block is not what was written", offset)
    if state not in _STATES:
        raise source.damaged("it is said to be neither open nor complete", blocks.STATE_AT)
    return _STATES[state], version


def _nothing_left(source: Source) -> NotADumpError:
    return NotADumpError(f"cannot read {source.path}: cut off at byte {source.size}, nothing whole is left")


def _has_footer(source: Source) -> bool:
    try:
        find_footer(source)
    except ValueError:
        return False
    return True


def find_footer(source: Source) -> tuple[Footer, bytes, int]:
    """Give the footer, the octets from the tail's beginning on, and where they begin; ValueError if it is not
    good."""
    length = int.from_bytes(source.read_some(source.size - 4, 4), "big")
    if not 20 <= length <= min(blocks.MOST, source.size - 4):
        raise ValueError("it does not end with a footer")
    block = source.read_some(source.size - length, length)
    if block[:16] != blocks.emit_custom_header(blocks.FOOTER, length):
        raise ValueError("it does not end with a footer")
    footer = parse_footer(block[16:-4])
    # The tail is a sum page, a directory and the footer: more is not read, whatever it says.
    if not 0 <= source.size - footer.tail <= 3 * blocks.MOST:
        raise ValueError("its footer does not know where the tail begins")
    tail = source.read_some(footer.tail, source.size - footer.tail)
    if crc32(tail[:-8]) != int.from_bytes(tail[-8:-4], "big"):
        raise ValueError("the CRC-32 of its index is wrong")
    return footer, tail, footer.tail


def read_directory(source: Source, start: int) -> tuple[Footer, tuple[Entry, ...]]:
    """Give footer and directory of a complete dump whose events begin at `start`."""
    try:
        footer, _tail, _at = find_footer(source)
    except ValueError as error:
        raise source.damaged(str(error), _first_break(source, start)) from error
    entries: list[Entry] = []
    for offset, length in footer.directories:
        body = source.read_block(offset, length, blocks.DIRECTORY)[16:-4]
        try:
            entries += parse_directory(body)
        except ValueError as error:
            raise source.damaged(str(error), offset) from error
    return footer, tuple(entries)


def _first_break(source: Source, start: int) -> int:
    """Say where the blocks stop to be whole: there something was lost or changed."""
    walk = Walk(source, start, source.size)
    for _ in walk:
        pass
    return walk.offset
