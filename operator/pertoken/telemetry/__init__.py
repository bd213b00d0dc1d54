"""Own metrics, JSON logs and the HTTP endpoints."""
