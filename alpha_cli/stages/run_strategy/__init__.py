"""Ticks to signals."""
