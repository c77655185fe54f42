"""Owns plans: saves, starts and stops them, cuts the work, hands it out, and says how a plan ended."""
