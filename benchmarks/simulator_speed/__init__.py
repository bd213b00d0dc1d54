"""How fast the engine simulator is, and how much memory it takes."""
