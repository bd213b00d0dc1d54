"""Policies of the benchmark: pertoken itself, published peers, fixed schedules; `registry` has them by name."""
