"""Values on their way between plg and the program that leads it: this package is at both ends."""

from __future__ import annotations

import base64
import pickle
from typing import Any


def pack(value: object) -> str:
    """The value as a word of JSON."""
    return base64.b64encode(pickle.dumps(value)).decode()


def unpack(text: str) -> Any:
    """The value."""
    return pickle.loads(base64.b64decode(text))
