"""A node that joined keeps its certificate and its trust file current: it asks the others of its network.

Every EVERY_S it asks a few for a newer trust file, and, when its certificate or the root behind that ends soon, one
after the other for a new certificate, until one has the authority's key.  What they say is not believed because they
say it: storage/renewal.py.

Source: notes on reliability, D1 (rotation and overlap of trust anchors; signed, versioned, non-rollback file).
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.client import HTTPException, HTTPSConnection
from random import Random, SystemRandom
from typing import Final

import msgspec

from waypost.api import calls
from waypost.api.calls import Call, Origin
from waypost.api.schemas import JSON, Recertified, Recertify
from waypost.errors import ConfigError, DeniedError, RemoteError, UnreachableError, WaypostError
from waypost.identity.anchors import TRUST_MAX
from waypost.identity.certificates import read_certificate
from waypost.identity.credentials import Credentials
from waypost.runtime.tls import chain_of, client_context
from waypost.storage import renewal
from waypost.storage.keyring import Keyring

EVERY_S: Final = 300.0  # give or take a fifth
EARLY_S: Final = 2.0  # until the first time, and while nobody is known to ask
ASKED_MAX: Final = 3  # nodes, each time, for a newer trust file
TIMEOUT_S: Final = 5.0

RANDOM: Final = SystemRandom()  # whom to ask first is nobody's to foresee

Urls = Callable[[], Sequence[str]]

log = logging.getLogger(__name__)


class Renewing:
    """`urls` are where other nodes are, `credentials` what this one shows; both are called on the event loop."""

    def __init__(
        self,
        keyring: Keyring,
        credentials: Callable[[], Credentials],
        urls: Urls,
        *,
        rng: Random = RANDOM,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._keyring = keyring
        self._credentials = credentials
        self._urls = urls
        self._rng = rng
        self._wall_ms = wall_ms
        self._stopped = False
        self._failures = 0  # rounds in a row without a certificate that was due

    async def follow(self) -> None:
        """Until it is cancelled."""
        wait_s = EARLY_S
        try:
            while True:
                await asyncio.sleep(wait_s)
                urls = list(self._urls())
                wait_s = EARLY_S
                if urls:
                    self._rng.shuffle(urls)
                    await asyncio.to_thread(self.turn, urls, self._credentials())
                    wait_s = EVERY_S * self._rng.uniform(0.8, 1.2)
        finally:
            self._stopped = True

    def turn(self, urls: Sequence[str], credentials: Credentials) -> None:
        """Ask those at `urls`; waits for them, TIMEOUT_S at most for each answer."""
        for url in urls[:ASKED_MAX]:
            self._tried(url, self._newer_trust, credentials)
        try:
            is_due = renewal.is_due(self._keyring, self._wall_ms())
        except (ConfigError, OSError) as error:
            log.warning("whether the node's certificate ends soon cannot be said: %s", error)
            return
        if is_due and not any(self._tried(url, self._renewed, credentials) for url in urls):
            self._failures += 1
            if self._failures.bit_count() == 1:  # the first, the second, the fourth …
                log.warning("no node of %d could renew this node's certificate", len(urls))
        else:
            self._failures = 0

    def _tried(self, url: str, ask: Callable[[Origin, Credentials], bool], credentials: Credentials) -> bool:
        if self._stopped:
            return False
        try:
            return ask(calls.origin(url), credentials)
        except (WaypostError, OSError) as error:
            log.info("asked %s in vain: %s", url, error)
            return False

    def _newer_trust(self, origin: Origin, credentials: Credentials) -> bool:
        """Also where the one that is here has expired, and nobody is believed by it any more."""
        known = {"Accept": JSON, "If-None-Match": f'"{credentials.trust.version}"'}
        lasting = replace(credentials.trust, expires_ms=max(credentials.trust.expires_ms, self._wall_ms() + 1))
        credentials = replace(credentials, trust=lasting)
        status, body = self._asked(origin, credentials, "GET", "/v1/trust", None, known)
        if status != 200:
            return False
        taken = renewal.take_trust(self._keyring, body, self._wall_ms())
        if taken:
            log.info("took a newer trust file from %s", origin.text)
        return taken

    def _renewed(self, origin: Origin, credentials: Credentials) -> bool:
        wanted = Recertify(renewal.request(self._keyring).decode())
        call = Call("POST", "/v1/renew", Recertified, msgspec.json.encode(wanted))
        status, body = self._asked(origin, credentials, call.method, call.target, call.body, call.headers)
        answer = calls.read(call, status, {}, body)
        made, root = (read_certificate(text.encode()) for text in (answer.certificate, answer.root))
        renewal.take_certificate(self._keyring, made, root, self._wall_ms())
        log.info("%s renewed this node's certificate", origin.text)
        return True

    def _asked(
        self,
        origin: Origin,
        credentials: Credentials,
        method: str,
        target: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> tuple[int, bytes]:
        """The status and the body, of a node and nobody else."""
        if not origin.secure:
            raise ConfigError("other nodes are reached over TLS alone")
        context = client_context(credentials)
        connection = HTTPSConnection(origin.host, origin.port, timeout=TIMEOUT_S, context=context)
        try:
            connection.connect()
            if "peer" not in credentials.certified(chain_of(connection.sock), self._wall_ms()).roles:
                raise DeniedError("what answers has a certificate, and not that of a node")
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            data = response.read(TRUST_MAX + 1)
        except ssl.SSLCertVerificationError as error:
            raise DeniedError("what answers has no certificate that is trusted") from error
        except (OSError, HTTPException) as error:
            raise calls.unreachable(origin, error) from error
        finally:
            connection.close()
        if len(data) > TRUST_MAX:
            raise UnreachableError(f"what answered sends more than {TRUST_MAX} octets")
        if response.status >= 400 and body is None:
            raise RemoteError(f"it answers {response.status}", code=response.status)
        return response.status, data
