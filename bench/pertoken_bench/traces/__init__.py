"""Requests as arrays: recorded ones, and those drawn from a rate series."""
