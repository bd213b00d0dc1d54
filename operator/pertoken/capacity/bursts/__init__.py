"""What comes inside an hour: streams of single requests, and what fleets of a few replicas carry of them."""
