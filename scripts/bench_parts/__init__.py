"""The parts of `scripts/bench`: the stage, the ways over it, what is measured on them, the table."""
