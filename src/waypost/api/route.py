"""What a route is: what the server registers, and what the API description is made of.

A body is given by an example for each media type; the example's type is the schema.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from msgspec import Struct

from waypost.api.operations import Operations
from waypost.api.request import Reply, Request
from waypost.identity.policy import Action, Target

Bodies = Mapping[str, Struct | str | dict[str, object]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`type` is one that JSON Schema can describe."""

    name: str
    description: str
    type: object = str
    example: object = None
    place: str = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    description: str
    bodies: Bodies = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)  # name, description


@dataclass(frozen=True, slots=True)
class Route:
    """`asks` is what the policy is asked before anything is done, about any part of the room.

    `refusals` are the statuses beside those that any request can get.
    """

    method: str
    path: str
    operation: Callable[[Operations, Request], Awaitable[Reply]]
    asks: tuple[Action, Target]
    summary: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    bodies: Bodies = field(default_factory=dict)
    body_required: bool = False
    refusals: tuple[int, ...] = ()

    @property
    def media(self) -> tuple[str, ...]:
        """The media types on offer; the first is the default."""
        return tuple(dict.fromkeys(media for answer in self.answers.values() for media in answer.bodies))
