"""The page docs/benchmarks.md: what policies cost and how they serve, measured by simulation."""
