"""The flight recorder: cycles with everything that decided them, in a form that replays bit for bit."""
