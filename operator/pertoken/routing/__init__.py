"""Splits of traffic between models. Pure, beside the planner: neither knows the other."""
