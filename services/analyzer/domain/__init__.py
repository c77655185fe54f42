"""Decisions of the analyzer: pure. No I/O."""
