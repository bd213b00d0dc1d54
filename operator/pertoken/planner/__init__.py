"""From a world to a plan: pure, deterministic, explained."""
