"""OSCORE for a node that has security contexts, and nothing of it for one that has none.

What it takes is an extra: it is looked for when there is a context.
"""

import logging
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Final

from waypost.errors import ConfigError
from waypost.identity.admission import Gate
from waypost.identity.oscore import SecurityContext
from waypost.runtime.figures import Labelled
from waypost.runtime.host import AskableEngine

if TYPE_CHECKING:
    from waypost.runtime.oscore import Oscore

REASONS: Final = ("answer", "context", "decryption", "group", "malformed", "replay", "unproven")  # of a refusal


def protect(engine: AskableEngine, contexts: Sequence[SecurityContext], rng: Random, gate: Gate) -> "Oscore | None":
    """`gate` is the engine's own: what does not verify is counted there.

    Raises ConfigError for contexts that cannot stand together, or if the extra is not installed.
    """
    if not contexts:
        return None
    try:
        from waypost.runtime.oscore import Oscore
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"there are OSCORE contexts, and the module {error.name} that they need is not installed",
            hint="pip install 'waypost[oscore]'",
        ) from error
    logging.getLogger("aiocoap").setLevel(logging.WARNING)  # what it tells of each nonce is nobody's business
    return Oscore(engine, contexts, rng, lambda path, now: gate.take(path.who, path.peer.host, now))


def counters(oscore: "Oscore | None") -> Mapping[str, int | Labelled]:
    refused = {} if oscore is None else oscore.refused
    return {
        "oscore_unprotected": 0 if oscore is None else oscore.unprotected,
        "oscore_refused": Labelled(("reason",), {(reason,): refused.get(reason, 0) for reason in REASONS}),
        "oscore_unsent": 0 if oscore is None else oscore.unsent,
    }
