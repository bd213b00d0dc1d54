"""Frozen values that the whole program speaks in; no I/O, clock or randomness."""
