"""How good the capacity plan's forecasts are: rolling origins on recorded traffic, and weeks that came after."""
