"""A plan that is being put together: what was chosen so far, and what is still missing. Pure."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.dashboard.domain.inputs import PlanIn
from shared.events.catalog.plan import MoveOptions
from shared.events.reasons import Reason

STEPS = ("analyze", "select", "spaces", "configure", "review")

# Reasons for a skip that one may accept beforehand: they come from how both products are, not from something gone wrong.
ACCEPTABLE = (
    Reason.GENERIC_GROUP,
    Reason.NO_CLOUD_COUNTERPART,
    Reason.ACCESS_WITHHELD,
    Reason.ADDRESS_UNKNOWN,
    Reason.DIRECTORY_GROUP,
    Reason.FILE_MISSING,
)


class Draft(BaseModel):
    """``spaces``: ids of those that were added. Every step saves all of it, so that it can be left and taken up again."""

    model_config = ConfigDict(extra="ignore")

    source: str
    users: Literal["all", "related", "none"] = "related"
    groups: bool = True
    spaces: list[str] = Field(default_factory=list)
    name: str = ""
    stage: Literal["test", "production"] = "test"
    site: str = ""
    key_conflicts: Literal["fail", "skip"] = "fail"
    options: MoveOptions = MoveOptions()
    accepted: list[Reason] = Field(default_factory=lambda: list(ACCEPTABLE))

    def with_page(self, shown: list[str], ticked: list[str]) -> "Draft":
        """After a page of the table was sent: what is ticked on it is in, what is not ticked is out, the rest stays."""
        off = set(shown) - set(ticked)
        kept = [space for space in self.spaces if space not in off]
        return self.with_spaces([*kept, *ticked])

    def with_spaces(self, spaces: list[str]) -> "Draft":
        return self.model_copy(update={"spaces": list(dict.fromkeys(spaces))})

    def missing(self) -> dict[str, str]:
        """Field → what is still to be said before this can be saved."""
        found = {}
        if not self.name:
            found["name"] = "Give the plan a name."
        if not self.site:
            found["site"] = "Choose the site it moves to."
        if not self.spaces and self.users != "all" and not self.groups:
            found["spaces"] = "Add a space, or choose all users or groups."
        return found

    def plan(self) -> PlanIn:
        """As the API takes it. Raises ValueError while something is missing."""
        values: dict[str, Any] = self.model_dump()
        return PlanIn(**values)
