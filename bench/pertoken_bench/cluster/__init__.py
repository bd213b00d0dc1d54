"""The simulated cluster, and what a Prometheus would show of it."""
