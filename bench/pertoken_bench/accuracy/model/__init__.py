"""How far the performance model is from kernel tables and served measurements, and the fits behind its parameters."""
