"""Scenario files, and what they become: traces, kinds of engines, the cluster's inventory, the work in them."""
