"""Purchases put to the test: decided on the first half of a recorded demand, paid on the second."""
