"""Stage `conditions`: what the service's status says of the decision."""
