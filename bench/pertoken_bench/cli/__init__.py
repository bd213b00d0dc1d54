"""`pertoken bench`, which this package adds to `pertoken`."""
