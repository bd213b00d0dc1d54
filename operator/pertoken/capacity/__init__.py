"""The capacity plan: which GPUs, how many, when, bought how. The operator never imports it."""
