"""Exports of Confluence, XML or CSV, as a source: ``take_in`` reads one once, ``open_export`` opens what was taken in."""

from shared.confluence.export.archive import detect, is_export
from shared.confluence.export.errors import (
    ExportDamaged,
    ExportKindUnsupported,
    ExportNotTaken,
    ExportUnreadable,
    NoExport,
)
from shared.confluence.export.intake import Progress, take_in
from shared.confluence.export.notes import NOTES
from shared.confluence.export.source import ExportSource, open_export

__all__ = [
    "NOTES",
    "ExportDamaged",
    "ExportKindUnsupported",
    "ExportNotTaken",
    "ExportSource",
    "ExportUnreadable",
    "NoExport",
    "Progress",
    "detect",
    "is_export",
    "open_export",
    "take_in",
]
