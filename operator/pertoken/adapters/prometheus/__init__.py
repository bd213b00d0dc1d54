"""The only importer of prometheus_api_client."""
