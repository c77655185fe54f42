"""The links of a plan's spaces wait for the pages of all its spaces, also of those that begin late."""

from services.planner.domain import plans
from shared.events.catalog.plan import PlanSaved
from shared.events.catalog.work import TaskKind
from shared.events.types import new_id


def plan_of(spaces: int) -> plans.Plan:
    saved = PlanSaved(
        plan=new_id(),
        source=new_id(),
        site=new_id(),
        analysis=new_id(),
        stage="test",
        users="none",
        groups=False,
        spaces=tuple(str(n) for n in range(spaces)),
        accepted=(),
        digest="0" * 64,
    )
    return plans.Plan(saved, version=1, status=plans.Status.RUNNING)


def space(n: int, has_pages: bool) -> plans.TaskBrief:
    return plans.TaskBrief(new_id(), TaskKind.SPACE, str(n), ended=False, claimed=0, has_pages=has_pages)


def test_spaces_that_have_their_pages_make_room_for_those_that_have_not_begun() -> None:
    plan = plan_of(3 * plans.SPACES_AT_ONCE)
    users = plans.TaskBrief(new_id(), TaskKind.USERS, None, ended=True, claimed=0, ending={"conserved": True})
    waiting = [space(n, has_pages=True) for n in range(plans.SPACES_AT_ONCE)]
    started = plans.advance(plan, [users, *waiting])
    assert isinstance(started, list)
    assert [s.space for s in started] == [str(n) for n in range(plans.SPACES_AT_ONCE, 2 * plans.SPACES_AT_ONCE)]


def test_no_more_spaces_begin_than_make_pages_at_once() -> None:
    plan = plan_of(3 * plans.SPACES_AT_ONCE)
    users = plans.TaskBrief(new_id(), TaskKind.USERS, None, ended=True, claimed=0, ending={"conserved": True})
    busy = [space(n, has_pages=False) for n in range(plans.SPACES_AT_ONCE)]
    assert plans.advance(plan, [users, *busy]) is None
