"""Problems as the API tells them: RFC 9457, with what to do next."""

import re
from typing import Any

from pydantic import BaseModel, Field

from shared.events.commands import Problem as CommandProblem


class ProblemDocument(BaseModel):
    """``application/problem+json``. ``code`` is stable; ``detail`` says what and why, ``way_on`` what to do next.

    Clients write it into their logs, so it holds ids, codes, counts and the place in a file: never a name, a title, an
    address, a path, or anything else that was sent."""

    type: str
    title: str
    status: int
    detail: str
    way_on: str
    code: str
    findings: list[dict[str, Any]] = Field(default_factory=list)


class ProblemError(Exception):
    """Raised by a handler, answered as a problem document."""

    def __init__(
        self, code: str, status: int, detail: str, way_on: str, findings: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.code, self.status, self.detail, self.way_on, self.findings = code, status, detail, way_on, findings or []

    @classmethod
    def of(cls, problem: CommandProblem) -> "ProblemError":
        """The refusal of a command by its owner."""
        return cls(problem.code, problem.status, problem.detail, problem.way_on, problem.findings)

    @property
    def document(self) -> ProblemDocument:
        return ProblemDocument(
            type=f"urn:cloudward:problem:{self.code}",
            title=self.code.replace("_", " ").capitalize(),
            status=self.status,
            detail=self.detail,
            way_on=self.way_on,
            code=self.code,
            findings=self.findings,
        )


_ID = re.compile(r"[0-9a-f]{32}|[0-9]{1,19}")


def not_found(what: str, id: str) -> ProblemError:
    """``id``: as it was asked for. What does not look like one of ours is not repeated."""
    which = f" {id}" if _ID.fullmatch(id) else " of this id"
    return ProblemError("not_found", 404, f"There is no {what}{which}.", f"List the {what}s and take an id from there.")


def immutable() -> ProblemError:
    return ProblemError(
        "plan_immutable",
        405,
        "Plans cannot be edited or deleted.",
        "Copy it instead: save a new plan with what should differ.",
    )
