"""Whom a revocation of certificates means.

A session outlives the handshake in which its certificate was judged, and the policy knows subjects and no serials.

Source: notes on reliability, D1.
"""

from collections.abc import Collection, Iterable

from waypost.storage.keyring import Issued


def subjects(issued: Iterable[Issued], revoked: Collection[str], wall_ms: int) -> frozenset[str]:
    """Those all of whose certificates by our authority, as far as they have not ended, are `revoked` serials."""
    names: dict[str, bool] = {}
    for one in issued:
        if wall_ms < one.not_after_ms:
            names[one.name] = names.get(one.name, True) and one.serial in revoked
    return frozenset(f"certificate:{name}" for name, gone in names.items() if gone)
