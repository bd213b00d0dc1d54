"""The capacity plan's fleets on the day that came: simulated, beside the least that would have sufficed."""
