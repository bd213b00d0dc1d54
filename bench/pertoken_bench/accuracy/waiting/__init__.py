"""An empirical model of waiting, and how well it predicts exact replays of real traces."""
