"""Settings of all tests."""

from __future__ import annotations

import hypothesis

# No deadline for an example: a busy machine is not a bug of a parser.
hypothesis.settings.register_profile("netplayground", deadline=None)
hypothesis.settings.load_profile("netplayground")
