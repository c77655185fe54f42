"""Reads a source and says what is there. Never writes to it."""
