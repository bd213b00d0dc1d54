"""Demand by the hour over weeks: a point forecast, how far such forecasts missed, and futures drawn from both."""
