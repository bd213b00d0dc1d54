"""The chart's Grafana dashboards, written as JSON by ``python -m pertoken_sandbox.dashboards`` in the root folder."""
