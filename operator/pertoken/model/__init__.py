"""Performance, cost and demand models: pure functions of catalog data and observations."""
