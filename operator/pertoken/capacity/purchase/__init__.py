"""How capacity is bought at least expected cost: reserved by term, on demand, spot, beside what is committed."""
