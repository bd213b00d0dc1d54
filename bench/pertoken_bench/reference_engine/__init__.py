"""The engine that the sandbox serves with, in readable Python: it and the compiled engine check each other."""
