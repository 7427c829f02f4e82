"""`alpha bars`: ticks to bars that begin with the session."""
