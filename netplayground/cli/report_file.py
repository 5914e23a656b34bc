"""The verdict of a replay as JSON, for machines; the file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from netplayground.errors import PlaygroundError
from netplayground.session.replay import ReplaySummary


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
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                json.dump(value, file, indent=2)
                file.write("\n")
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise PlaygroundError(f"cannot write {path}: {error.strerror}") from error
