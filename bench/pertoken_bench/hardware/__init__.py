"""The simulated hardware: step-time tables, and how a replica deviates from them."""
