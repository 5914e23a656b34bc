"""Tape to decisions: which recorded connection a live one plays, when each event goes, what is compared."""
