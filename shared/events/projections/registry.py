"""The projections that the dashboard keeps up."""

from shared.events.projections.base import Projection
from shared.events.projections.connections import Connections
from shared.events.projections.plans import Plans

READ_PROJECTIONS: tuple[Projection, ...] = (Connections(), Plans())
