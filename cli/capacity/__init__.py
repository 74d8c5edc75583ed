"""How many workers a stated demand needs: an engine's profile, a demand, and a simulation of the two."""
