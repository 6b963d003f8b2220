"""Ranges of names, and what of a range may be seen.

A scope is a sector's and a name's span.  Two spans share all of the smaller one or nothing, and so do scopes, side
by side: what two have in common is one scope again.
"""

from typing import Final, NamedTuple


class Span(NamedTuple):
    """Names: `start` alone, or all that begin with it."""

    start: str
    prefix: bool = False

    def covers(self, other: "Span") -> bool:
        return other.start.startswith(self.start) if self.prefix else self == other

    def meets(self, other: "Span") -> "Span | None":
        """The names that are in both."""
        if self.covers(other):
            return other
        return self if other.covers(self) else None


ALL: Final = Span("", prefix=True)


class Scope(NamedTuple):
    sector: Span
    name: Span

    def covers(self, other: "Scope") -> bool:
        return self.sector.covers(other.sector) and self.name.covers(other.name)

    def meets(self, other: "Scope") -> "Scope | None":
        sector, name = self.sector.meets(other.sector), self.name.meets(other.name)
        return None if sector is None or name is None else Scope(sector, name)


EVERYWHERE: Final = Scope(ALL, ALL)


class View(NamedTuple):
    """The parts of a range that may be seen: those within, less those without."""

    within: tuple[Scope, ...]
    without: tuple[Scope, ...] = ()

    def shows(self, sector: str | None, name: str) -> bool:
        """`sector` None is that of those that name none."""
        at = Scope(Span(sector or ""), Span(name))
        return any(scope.covers(at) for scope in self.within) and not any(scope.covers(at) for scope in self.without)


def pattern(text: str) -> Span:
    """As it stands in a policy: a star at the end is any ending."""
    return Span(text[:-1], prefix=True) if text.endswith("*") else Span(text)
