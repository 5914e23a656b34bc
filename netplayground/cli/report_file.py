"""The verdict of a replay as JSON, for machines; the file appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from netplayground.dump.appearing import OPEN, appearing, is_stream
from netplayground.errors import PlaygroundError, UsageError
from netplayground.session.replay import ReplaySummary

_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")
_STDERR = 2


def report_of(summary: ReplaySummary) -> dict[str, object]:
    """What there is to say of one replay."""
    return {
        "dump": str(summary.run.dump_path),
        "status": summary.run.status,
        "reason": summary.run.reason,
        "duration_s": summary.run.duration_s,
        "processes": [
            {
                "name": process.name,
                "position": process.position,
                "command": process.command,
                "ended": process.describe(),
                "status": process.status,
            }
            for process in summary.run.processes
        ],
        **summary.verdict.as_json(),
    }


def write_report(path: Path, summary: ReplaySummary) -> None:
    """Write the report of one replay; PlaygroundError when that cannot be done."""
    write_json(path, report_of(summary))


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a value as JSON; PlaygroundError when that cannot be done."""
    with appearing(path, OPEN) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def check_report(path: Path, dump_path: Path) -> None:
    """Raise, before the replay, what `write_json` would after it, as far as that can be told; a descriptor
    that is named is for the report, and not for the commands."""
    descriptor = _DESCRIPTOR.fullmatch(str(path))
    try:
        if descriptor is not None and int(descriptor[1]) > _STDERR:
            os.set_inheritable(int(descriptor[1]), False)
        if os.path.exists(path) and os.path.exists(dump_path) and os.path.samefile(path, dump_path):
            raise UsageError(f"cannot write the report to {path}: it is the dump")
        _check_access(path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_access(path: Path) -> None:
    target, right = path, os.W_OK
    if os.path.isdir(path):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not is_stream(path):
        target, right = Path(os.path.realpath(path)).parent, os.W_OK | os.X_OK
        if not stat.S_ISDIR(os.stat(target).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(target, right, effective_ids=True):
        is_read_only = os.statvfs(target).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise OSError(number, os.strerror(number))


def _cannot_write(path: Path, error: OSError) -> PlaygroundError:
    return PlaygroundError(f"cannot write {path}: {error.strerror}")
