"""The building of the demonstration: three floors, four devices on each, eighteen resources."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

FLOORS: Final = (1, 2, 3)
RESOURCES: Final = {  # a kind of device, and its links
    "climate": '</temperature>;rt="temperature";if="sensor",</humidity>;rt="humidity";if="sensor"',
    "lamp": '</light>;rt="light";if="actuator"',
    "door": '</open>;rt="door";if="sensor";obs,</lock>;rt="lock";if="actuator"',
    "meter": '</power>;rt="power";if="sensor"',
}
LIFETIME: Final = 300  # seconds


@dataclass(frozen=True, slots=True)
class Device:
    """`floor` becomes an attribute of the endpoint, next to its type `et`."""

    kind: str
    floor: int

    @property
    def ep(self) -> str:
        return f"{self.kind}-{self.floor}"

    @property
    def links(self) -> str:
        return RESOURCES[self.kind]

    @property
    def query(self) -> str:
        return urlencode({"ep": self.ep, "lt": LIFETIME, "et": self.kind, "floor": self.floor})


DEVICES: Final = tuple(Device(kind, floor) for floor in FLOORS for kind in RESOURCES)
