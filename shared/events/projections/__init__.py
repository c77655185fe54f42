"""Projections: tables that are a function of the log, kept up with it, rebuilt from it and compared with it."""

from shared.events.projections.base import Difference, Projection, ProjectionState, Status

__all__ = ["Difference", "Projection", "ProjectionState", "Status"]
