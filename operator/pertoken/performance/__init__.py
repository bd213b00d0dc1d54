"""What a replica does and how fast: step times, memory, operating point, and what calibration corrects."""
