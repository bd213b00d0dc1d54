"""How far the operator's models are from measured tables, exact replays and independent simulators."""
