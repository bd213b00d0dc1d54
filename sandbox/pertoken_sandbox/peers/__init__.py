"""The real autoscalers that people use today, on the sandbox's fleet, Prometheus and trace, beside pertoken."""
