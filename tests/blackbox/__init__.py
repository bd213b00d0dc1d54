"""What a user can see must hold: tests that know the API server, metrics pages and the audit log, nothing else.

This folder is a package so that its fixtures of scope ``package`` end before other folders start operators.
"""
