"""What can be wrong with an export. Every text says what it is, why that is so and what to do next."""

from shared.confluence.source import SourceError, SourceUnsupported

EXPORT_HOWTO = (
    "Export the space again in Confluence (Space settings > Export space > XML, with attachments), "
    "or the whole site (Administration > Backup), and give the zip as it was downloaded."
)


class NoExport(SourceUnsupported):
    """The location holds no Confluence export."""


class ExportKindUnsupported(SourceUnsupported):
    """An export, of a kind that is not read."""


class ExportDamaged(SourceUnsupported):
    """An export that is truncated, broken or encrypted. Nothing of it was taken in."""


class ExportUnreadable(SourceError):
    """The operating system refuses: rights, a full disk, a device that fails."""


class ExportNotTaken(SourceError):
    """The export store holds no such export, or one that another release wrote."""
