"""The laboratory of the black-box tests: real control plane, chart, operator and Prometheus; scripted engines.

`clusterlab.lab` describes what tests use; `clusterlab.manifests` holds the manifests to vary.
"""

from clusterlab.fleet import NodeSpec
from clusterlab.lab import Lab
from clusterlab.manifests import adopted, cap_reading_engine, engine, owned
from clusterlab.scripted import Engine, Load
from clusterlab.stack import Stack

__all__ = ["Engine", "Lab", "Load", "NodeSpec", "Stack", "adopted", "cap_reading_engine", "engine", "owned"]
