"""What the operator tells of itself: metrics, logs, probes, the last plan."""
