"""From demand to GPUs: what a replica carries, the cheapest mix of replicas, whole nodes."""
