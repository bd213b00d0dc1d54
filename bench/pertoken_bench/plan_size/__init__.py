"""What a capacity plan of many services costs: CPU seconds and memory."""
