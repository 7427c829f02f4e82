"""Bars from ticks, for the stage `bars` and for strategies that ask for bars."""
