"""One run from start to end: the plan (pure), building it, the loop, winding down, the summary."""
