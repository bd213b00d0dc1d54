"""The plan as patches onto objects that the user names; nothing is applied by pertoken."""
