"""How lines flow: stages, the one loop that runs them, decoding, last ticks, bad lines and shutdown."""
