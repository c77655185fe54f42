"""Who asks, and what they may see."""

from functools import cached_property

from sandbox.sample.model import Content, Instance, Space, User

ADMINISTRATORS = "confluence-administrators"


class Viewer:
    """A user, or nobody (anonymous). Members of the administrators' group see everything."""

    def __init__(self, instance: Instance, user: User | None) -> None:
        self.instance = instance
        self.user = user

    @cached_property
    def groups(self) -> set[str]:
        key = self.user.key if self.user else None
        return {g for g in self.instance.groups if key in self.instance.members(g)}

    @cached_property
    def administrator(self) -> bool:
        return self.user is not None and ADMINISTRATORS in self.groups

    def may_in(self, space: Space, right: str) -> bool:
        if self.administrator:
            return True
        return any(
            p.type == right
            and (
                (p.user is None and p.group is None)
                or (self.user is not None and p.user == self.user.key)
                or (p.group in self.groups)
            )
            for p in space.permissions
        )

    def sees_space(self, space: Space) -> bool:
        return self.may_in(space, "VIEWSPACE")

    def sees(self, content: Content) -> bool:
        """Space permission, and the view restrictions of the content and of everything above it."""
        if self.administrator:
            return True
        if not self.sees_space(self.instance.spaces[content.space]):
            return False
        while content.container is not None:
            content = self.instance.contents[content.container]
        return all(self._passes(c) for c in (*self.instance.ancestors(content), content))

    def _passes(self, content: Content) -> bool:
        holders = [r for r in content.restrictions if r.operation == "read"]
        key = self.user.key if self.user else ""
        return not holders or any(r.user == key or (r.group in self.groups) for r in holders)
