"""Confluence Server and Data Center as a source, by REST."""

from shared.confluence.rest.source import RestSource

__all__ = ["RestSource"]
