"""Registrations out of a node and into it, a line of JSON for each.

Nothing here is ever held whole but the ids of an export: registrations are read a page at a time, as the
reader takes them, and an import is answered batch by batch, when the batch is on disk.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec

from waypost.api import reading, schemas
from waypost.api.problem import Refusal
from waypost.api.reading import Pairs
from waypost.errors import StateError
from waypost.identity import Identity
from waypost.rd.questions import Busy, Export, Import, Imported, Kept, Located, Locations, Outcome, Page, Refused
from waypost.rd.questions import Register as Wanted

PAGE: Final = 100  # registrations read at once
EXPORTS_MAX: Final = 4  # under way: each holds the ids of all registrations
LINES_MAX: Final = 1_000  # of one import's body
ASKED_MAX: Final = 128  # registrations of an import on their way to the disk
TRIES: Final = 3  # for a line, while the disk is behind
WAIT_MAX_S: Final = 2  # longer than that is not for the disk
EXPORTS_RETRY_S: Final = 10

Ask = Callable[[object], Awaitable[object]]
_encoder: Final = msgspec.json.Encoder()


class Exports:
    """Those under way."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._under_way = 0

    def begin(self, criteria: Pairs, who: Identity) -> AsyncGenerator[bytes, None]:
        """Lines of JSON, some at a time.  Raises Refusal if too many read already."""
        if self._under_way >= EXPORTS_MAX:
            raise Refusal(503, f"{EXPORTS_MAX} exports are under way already", retry_s=EXPORTS_RETRY_S)
        return self._read(criteria, who)

    async def _read(self, criteria: Pairs, who: Identity) -> AsyncGenerator[bytes, None]:
        self._under_way += 1
        try:
            located = await self._ask(Locations(who))
            if isinstance(located, Refused):
                raise StateError(located.detail)
            assert isinstance(located, Located)
            for start in range(0, len(located.locations), PAGE):
                page = await self._ask(Export(located.locations[start : start + PAGE], criteria, who))
                if isinstance(page, Refused):
                    raise StateError(page.detail)
                assert isinstance(page, Page)
                lines = [
                    schemas.Exported(
                        entry.ep,
                        entry.base,
                        entry.location,
                        entry.d,
                        entry.explicit,
                        entry.lt,
                        round(entry.expires_in, 3),
                        entry.attributes,
                        entry.links,
                        entry.members,
                        entry.owner,
                    )
                    for entry in page.entries
                ]
                if lines:
                    yield _encoder.encode_lines(lines)
                await asyncio.sleep(0)  # lookups come first
        finally:
            self._under_way -= 1


async def take(ask: Ask, body: bytes, who: Identity, *, dry: bool) -> schemas.Imported:
    """Each line of `body` by itself: one that is wrong keeps no other out.  Answered when all are on disk."""
    lines = [(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    if len(lines) > LINES_MAX:
        raise Refusal(413, f"an import takes {LINES_MAX} lines at once, not {len(lines)}; nothing was imported")
    wanted: list[tuple[int, Import]] = []
    errors: list[schemas.LineError] = []
    for number, line in lines:
        try:
            wanted.append((number, _import(reading.json(line, schemas.Exported), who, dry=dry)))
        except Refusal as error:
            errors.append(schemas.LineError(number, str(error)))
    imported = kept = moved = 0
    for start in range(0, len(wanted), ASKED_MAX):
        some = wanted[start : start + ASKED_MAX]
        outcomes = await asyncio.gather(*(_put(ask, question) for _, question in some))
        for (number, question), outcome in zip(some, outcomes, strict=True):
            match outcome:
                case Imported(location=location):
                    imported += 1
                    moved += question.location is not None and location != question.location
                case Kept():
                    kept += 1
                case Refused(detail=detail) | Busy(detail=detail):
                    errors.append(schemas.LineError(number, detail))
                case _:
                    raise AssertionError(f"{outcome!r} is no answer to an import")
    return schemas.Imported(imported, kept, moved, tuple(sorted(errors, key=lambda error: error.line)))


def _import(line: schemas.Exported, who: Identity, *, dry: bool) -> Import:
    base, implicit = (line.base, "") if line.explicit else (None, line.base)
    register = Wanted(
        line.ep, line.d, line.lt, base, implicit, line.attributes, line.links.encode(), "", members=line.members
    )
    return Import(register, line.id, line.lt if line.expires_in is None else line.expires_in, line.owner, dry, who)


async def _put(ask: Ask, question: Import) -> Outcome:
    """Waits while the disk is behind; that is what slows the sender down."""
    for _ in range(TRIES):
        outcome: Outcome = await ask(question)  # type: ignore[assignment]
        if not isinstance(outcome, Busy) or outcome.retry_s > WAIT_MAX_S:
            break
        await asyncio.sleep(outcome.retry_s)
    return outcome
