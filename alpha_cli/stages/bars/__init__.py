"""`alpha bars`: bars from ticks, counted from the opening of the session."""
