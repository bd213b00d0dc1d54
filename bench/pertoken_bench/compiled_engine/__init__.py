"""The engine simulator: a compiled event loop over arrays, one column layout, and Python handles around it."""
