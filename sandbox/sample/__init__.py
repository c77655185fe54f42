"""Content of the sandbox's instances, made from a seed: the same seed gives the same content, byte for byte."""

from typing import Literal

from sandbox.sample.generate import Generated, generate
from sandbox.sample.model import BASE, Content, Group, Instance, Restriction, Space, SpacePermission, User
from sandbox.sample.north import north
from sandbox.sample.pocket import pocket
from sandbox.sample.south import south

#: Key of a space of Wiki North that the demo's destination site already has: this one space must fail.
PLANTED_SPACE_KEY = "OPS"

#: The two instances of the demo and the versions they stand for.
SAMPLE_VERSIONS: dict[Literal["north", "south"], str] = {"north": "8.5.6", "south": "7.19.0"}


def sample(seed: int, instance: Literal["north", "south", "pocket"]) -> Instance:
    """One of the two instances of the demo, about 120 pages in seven spaces together, or the small one of the campaigns."""
    return {"north": north, "south": south, "pocket": pocket}[instance](seed)


__all__ = [
    "BASE",
    "PLANTED_SPACE_KEY",
    "SAMPLE_VERSIONS",
    "Content",
    "Generated",
    "Group",
    "Instance",
    "Restriction",
    "Space",
    "SpacePermission",
    "User",
    "generate",
    "sample",
]
