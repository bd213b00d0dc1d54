"""Reference pages that are made from the code: ``python -m pertoken.cli.reference`` in the root folder."""
