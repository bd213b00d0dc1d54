"""`pertoken crd`: print the CustomResourceDefinitions."""

from __future__ import annotations

from pertoken.api.crd import all_crds_yaml


def crd_command() -> None:
    """Print the CustomResourceDefinitions as YAML, ready for `kubectl apply --server-side -f -`."""
    print(all_crds_yaml(), end="")
