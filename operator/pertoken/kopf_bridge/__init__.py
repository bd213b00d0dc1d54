"""The only importer of kopf: watches feed the inventory."""
