"""A stream, for people."""
