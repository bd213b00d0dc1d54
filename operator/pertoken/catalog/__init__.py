"""GPUs, models and engines as dated data with sources."""
