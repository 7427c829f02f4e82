"""Dated facts of the Indian markets (calendar, instruments, charges) and the rules that stages share."""
