"""Simulated fleets: engines, cluster, observation, policies, benchmark. Never imported by the operator.

Needs the extra ``bench`` (numba, joblib, matplotlib, scipy).
"""
