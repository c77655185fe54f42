"""Decisions of the planner: pure functions of what the log says. No I/O."""
