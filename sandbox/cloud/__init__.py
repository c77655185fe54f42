"""Confluence Cloud as a migration writes and reads it."""
