"""Stages `allocate` and `reclaim`: scarce pools given out to all services together."""
