"""Strategies in processes of their own: the pool, its processes and what they say to each other."""
