"""What others wrote, read without trust: bounded numbers, checked types, limited depth."""
