"""What was paid and for what: bills, statements, attribution, energy, and the cost index."""
