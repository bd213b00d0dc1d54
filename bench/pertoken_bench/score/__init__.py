"""What a run cost and how it served, beside a provable lower bound."""
