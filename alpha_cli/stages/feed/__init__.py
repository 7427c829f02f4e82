"""The source of a pipeline: a synthetic market or recorded ticks."""
