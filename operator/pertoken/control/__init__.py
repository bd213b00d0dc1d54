"""The planning cycle around the pure planner: inventory, observation, actuation, report."""
