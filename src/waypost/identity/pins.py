"""Which keys for TLS the roster has for whom: a certificate of the network's authority for another is not enough.

Whoever has the authority's key can certify any name.  A node that has told the network the fingerprint of its key is
known by both: by the certificate, and by the key.

Source: notes on DRiP, 5.1 (peer certificate matched to the key in the roster).
"""

from collections.abc import Callable, Mapping

from waypost.errors import DeniedError
from waypost.identity.keys import PublicKey, fingerprint


class Pins:
    """`of` has the fingerprints by name, as the roster does; who is not in it is known by name.

    `refused` counts; `tell` is told of the first, the second, the fourth …
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.of: Mapping[str, tuple[str, ...]] = {}
        self.refused = 0
        self._tell = tell

    def fits(self, name: str, key: PublicKey) -> bool:
        pins = self.of.get(name)
        return pins is None or fingerprint(key) in pins

    def require(self, name: str, key: PublicKey, *, is_counted: bool = True) -> None:
        """Raises DeniedError for another key than the roster has."""
        if self.fits(name, key):
            return
        self.refused += is_counted
        sentence = f"the network's authority certified another key for {name} than the roster has"
        if is_counted and self.refused.bit_count() == 1:
            self._tell(f"{sentence}: unless {name} was given new keys, somebody has the authority's")
        raise DeniedError(sentence)
