"""Instances written out as XML exports, as Confluence Server and Data Center of a version write them; a stream."""

from sandbox.export.writer import Progress, write_export

__all__ = ["Progress", "write_export"]
