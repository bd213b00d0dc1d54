"""`make demo`: a real control plane, an emulated GPU fleet, a real trace, and pertoken holding the cost."""
