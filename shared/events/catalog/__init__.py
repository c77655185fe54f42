"""Every event type of this release. Importing this package registers them all."""

from shared.events.catalog import access, analysis, check, chunk, plan, source, system, target, task, webhook

__all__ = ["access", "analysis", "check", "chunk", "plan", "source", "system", "target", "task", "webhook"]
