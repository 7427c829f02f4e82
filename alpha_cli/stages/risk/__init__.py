"""Signals to orders or denials."""
