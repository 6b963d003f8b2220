"""Joining: a certificate for a token, from the node that has the authority's key; and another, before that one ends.

What is wrong with a request is found out first; then the token is used up, on disk; then the certificate is made.  So
no token gives two certificates, and at worst, when the node dies in between, a token is lost.

Source: notes on reliability, D1 (bootstrap).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from waypost import __version__
from waypost.api.asking import FAILURES, FAILURES_PER_SECOND
from waypost.api.moving import Ask
from waypost.api.problem import Refusal
from waypost.api.schemas import Join, Joined, Peer, Recertified, Recertify, Root
from waypost.assembly.installation import Introduce, Introduced
from waypost.drip.questions import Peers, ShowPeers
from waypost.errors import ConfigError, WireError
from waypost.identity import Identity
from waypost.identity.admission import Buckets, prefix_of
from waypost.identity.anchors import read_trust
from waypost.identity.certificates import (
    CERTIFICATE_DAYS,
    DNS_NAME,
    Certificate,
    Subject,
    identity_of,
    read_certificate,
    read_certificates,
    read_request,
)
from waypost.identity.certificates import Request as Wanted
from waypost.identity.keys import fingerprint
from waypost.identity.token import Declined, Redeem, Redeemed, Shown
from waypost.storage.keyring import LOOPBACK, Keyring
from waypost.storage.network import Known, contacts_of

PROTOCOL: Final = 1  # of what nodes say to each other
RENEWALS_PER_SECOND: Final = 1 / 21_600  # of one name, in the long run
RENEWALS: Final = 3  # and at once
ELSEWHERE: Final = "the authority's key is kept elsewhere: no certificate can be made now"
CAPABILITIES: Final = ("rd",)  # what this node can do for others

log = logging.getLogger(__name__)


class Joining:
    """`ask` puts a question to the node, `keyring` has its keys."""

    def __init__(
        self, ask: Ask, keyring: Keyring, wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._ask = ask
        self._keyring = keyring
        self._wall_ms = wall_ms
        self._alone = asyncio.Lock()
        self._failures = Buckets(FAILURES_PER_SECOND, FAILURES)
        self._lines = Buckets(FAILURES_PER_SECOND, FAILURES)  # of the log
        self._renewals = Buckets(RENEWALS_PER_SECOND, RENEWALS)

    @property
    def pin(self) -> str:
        """What a token pins: the fingerprint of the root's key, in hexadecimal."""
        return fingerprint(self._keyring.root.public)

    def root(self) -> Root:
        return Root(self._keyring.root.pem.decode(), self.pin)

    def peer(self) -> Peer:
        own, *_ = read_certificates(self._keyring.credentials(self._wall_ms()).chain)
        _, _, name = identity_of(own)
        return Peer(name, __version__, PROTOCOL, CAPABILITIES)

    async def join(self, wanted: Join, source: str, who: Identity) -> Joined:
        """Raises Refusal, and then nothing has changed."""
        try:
            shown, request = _read(wanted)
            hosts = tuple(host for host in request.hosts if host not in (*LOOPBACK, source))
            redeem = Redeem(shown, wanted.name, hosts, who, role=wanted.role)
            await self._redeem(replace(redeem, dry=True))  # strangers get no further
            async with self._alone:
                taken = await asyncio.to_thread(self._taken)
                redeemed = await self._redeem(replace(redeem, taken=taken))
                hosts = request.hosts if redeemed.role == "peer" else ()
                subject = Subject(redeemed.role, redeemed.name, hosts, CERTIFICATE_DAYS)
                network = await self._network() if redeemed.role == "peer" else ""
                joined = await asyncio.to_thread(self._certify, subject, request, network)
        except Refusal as error:
            now = asyncio.get_running_loop().time()
            if not self._lines.take("all", now):
                log.warning("refused to let %s join: %s", source or "the local socket", error)
            retry_s = self._failures.take(prefix_of(source), now) if error.code == 403 else 0
            if retry_s:
                raise Refusal(429, "too many that may not join: come back later", retry_s=retry_s) from error
            raise
        log.info("%s joined from %s as a %s", joined.name, source or "the local socket", joined.role)
        return joined

    async def renew(self, wanted: Recertify, who: Identity, certificate: bytes) -> Recertified:
        """The certificate that `who` showed, for the same name and hosts, with a new end.  Raises Refusal."""
        request = _read_request(wanted.request)
        if not certificate or request.name != who.name:
            raise Refusal(403, "a node renews its own certificate: the request is for another name")
        if "@" in who.name:
            raise Refusal(403, "another organisation's authority certified this node: it renews the certificate")
        if fingerprint(request.public) in self._keyring.credentials(self._wall_ms()).trust.revoked.keys:
            raise Refusal(403, "the key is revoked")
        if not self._keyring.has_authority:
            raise Refusal(503, ELSEWHERE)
        retry_s = self._renewals.take(who.name, asyncio.get_running_loop().time())
        if retry_s:
            raise Refusal(429, "the certificate was renewed a moment ago", retry_s=retry_s)
        subject = Subject("peer", who.name, read_certificate(certificate).hosts, CERTIFICATE_DAYS)
        made = await asyncio.to_thread(self._issue, subject, request)
        log.info("renewed the certificate of %s", who.name)
        return Recertified(made.pem.decode(), self._keyring.root.pem.decode())

    @property
    def version(self) -> int:
        """Of the trust file that this node goes by."""
        return self._keyring.credentials(self._wall_ms()).trust.version

    def trust(self) -> tuple[bytes, int]:
        """The trust file as it is, and its version; waits for the disk."""
        data = self._keyring.read("trust.json", bytes)
        return data, read_trust(data, self._keyring.operator).version

    async def _redeem(self, redeem: Redeem) -> Redeemed:
        if redeem.shown.id in self._keyring.credentials(self._wall_ms()).trust.revoked.tokens:
            raise Refusal(403, "the token is revoked")
        redeemed = await self._ask(redeem)
        if isinstance(redeemed, Declined):
            raise Refusal(403, redeemed.detail)
        assert isinstance(redeemed, Redeemed)
        return redeemed

    def _taken(self) -> frozenset[str]:
        """Names under certificates that are still good.  Raises Refusal if none can be made here."""
        if not self._keyring.has_authority:
            raise Refusal(503, ELSEWHERE)
        now_ms = self._wall_ms()
        revoked = self._keyring.credentials(now_ms).trust.revoked.certificates
        good = (one for one in self._keyring.issued() if now_ms < one.not_after_ms and one.serial not in revoked)
        return frozenset(one.name for one in good)

    async def _network(self) -> str:
        """What a node is to know of its network."""
        introduced, peers = await self._ask(Introduce("")), await self._ask(ShowPeers())
        assert isinstance(introduced, Introduced)
        assert isinstance(peers, Peers)
        return Known(contacts_of(peers.roster), introduced.founding).encode().decode()

    def _issue(self, subject: Subject, request: Wanted) -> Certificate:
        try:
            return self._keyring.issue(subject, request.public, self._wall_ms())
        except ConfigError as error:
            raise Refusal(503, ELSEWHERE) from error

    def _certify(self, subject: Subject, request: Wanted, network: str) -> Joined:
        made = self._issue(subject, request)
        operator, trust = (self._keyring.read(name, bytes).decode() for name in ("operator.pub", "trust.json"))
        return Joined(
            subject.role, subject.name, made.pem.decode(), self._keyring.root.pem.decode(), operator, trust, network
        )


def _read(wanted: Join) -> tuple[Shown, Wanted]:
    try:
        shown = Shown.read(wanted.token)
    except WireError as error:
        raise Refusal(400, str(error)) from None
    request = _read_request(wanted.request)
    for host in request.hosts:
        _require_host(host)
    return shown, request


def _read_request(text: str) -> Wanted:
    try:
        return read_request(text.encode())
    except (WireError, UnicodeEncodeError) as error:
        raise Refusal(400, str(error)) from None


def _require_host(host: str) -> None:
    """One that a certificate can be made for again."""
    try:
        ip_address(host)
    except ValueError:
        if not DNS_NAME.fullmatch(host):
            raise Refusal(400, "the request names a host that is neither a DNS name nor an address") from None
