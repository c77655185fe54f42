"""Confluence Cloud, written to and read back."""

from shared.confluence.cloud.attachments import SizeMismatch
from shared.confluence.cloud.client import CloudSite
from shared.confluence.cloud.gate import Gate, OpenGate
from shared.confluence.cloud.parsing import RoleAssignment, SitePermission, SiteRole

__all__ = ["CloudSite", "Gate", "OpenGate", "RoleAssignment", "SitePermission", "SiteRole", "SizeMismatch"]
