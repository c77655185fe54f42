"""Postgres, NATS and the four services as children of one process, for one machine without Docker."""
