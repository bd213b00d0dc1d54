"""How well waiting is predicted from scrapes: against an exact replay of real traces."""
