"""Instances written out as XML exports, as Confluence Server and Data Center of a version write them, or one space of them as the
CSV export of Confluence Cloud; a stream."""

from sandbox.export.writer import Progress, write_csv_export, write_export

__all__ = ["Progress", "write_csv_export", "write_export"]
