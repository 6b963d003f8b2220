"""What a node that joined takes from others: nothing that its operator's key or a trusted root does not vouch for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from test_backup import no_sync

from waypost.errors import DeniedError, WaypostError, WireError
from waypost.identity import keys
from waypost.identity.anchors import Revoked, Trust, our_anchor, seal_trust, with_anchor, with_new_root
from waypost.identity.certificates import Certificate, Subject, issue, make_root, read_certificate, read_request
from waypost.storage import authority, renewal
from waypost.storage.joining import replace_keys
from waypost.storage.keyring import LOOPBACK, Keyring

NOW = 1_790_000_000_000
DAY = 86_400_000
YEAR = 365 * DAY


class Network:
    """`founder` has the authority's key; `joined` has a certificate by it, made `now_ms`."""

    def __init__(self, place: Path, now_ms: int = NOW, days: int = 365) -> None:
        self.founder = Keyring.open(place / "founder", now_ms, sync=no_sync)
        assert self.founder.operator_key is not None
        self.operator = keys.read_private_ed25519(self.founder.operator_key)
        self.key = keys.make_p256()
        subject = Subject("peer", "node-2", (*LOOPBACK, "node-2.example"), days)
        own = self.founder.issue(subject, self.key.public_key(), now_ms)
        copied = {name: self.founder.read(name, bytes) for name in ("ca.crt", "trust.json", "operator.pub")}
        (place / "joined").mkdir()
        made = {"tls.pem": keys.write_private(self.key), "tls.crt": own.pem}
        replace_keys(place / "joined", made | copied, sync=no_sync)
        self.joined = Keyring.open(place / "joined", now_ms, sync=no_sync)

    @property
    def trust(self) -> Trust:
        return self.joined.believed(NOW, expired=True).trust

    def next_trust(self, operator: Ed25519PrivateKey | None = None, **changes: object) -> bytes:
        changed = replace(self.trust, **{"version": self.trust.version + 1, **changes})  # type: ignore[arg-type]
        return seal_trust(changed, operator or self.operator)

    def issue(self, later_ms: int, role: str = "peer", name: str = "node-2", key: keys.PrivateKey | None = None,
              days: int = 365) -> Certificate:  # fmt: skip
        public = (key or self.key).public_key()
        return self.founder.issue(Subject(role, name, LOOPBACK, days), public, NOW + later_ms)


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return Network(tmp_path)


def own(keyring: Keyring) -> Certificate:
    return keyring.read("tls.crt", read_certificate)


def test_a_newer_trust_file_is_taken_once(network: Network) -> None:
    revoked = Revoked(certificates=frozenset({"abc"}))
    newer = network.next_trust(revoked=revoked)
    before = network.joined.credentials(NOW)
    assert renewal.take_trust(network.joined, newer, NOW)
    assert network.joined.read("trust.json", bytes) == newer
    assert not renewal.take_trust(network.joined, newer, NOW)
    assert "abc" in network.joined.credentials(NOW).trust.revoked.certificates
    assert network.joined.credentials(NOW) is not before


def test_a_newer_trust_file_is_taken_where_the_one_that_is_here_has_expired(network: Network) -> None:
    end = network.trust.expires_ms
    newer = network.next_trust(expires_ms=end + YEAR)
    assert renewal.take_trust(network.joined, newer, end + DAY)
    assert network.joined.believed(end + DAY).trust.expires_ms == end + YEAR


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda network: network.next_trust(keys.make_ed25519()), "sign"),
        (lambda network: network.next_trust(version=2), "version 2, and version 3 was seen"),
        (lambda network: network.next_trust(version=3, expires_ms=NOW + DAY), "two different"),
        (lambda network: network.next_trust(expires_ms=NOW), "expired"),
        (lambda network: b"{}", "sealed|signed|not"),
        (lambda network: b"", "not|JSON"),
    ],
)
def test_a_trust_file_that_is_forged_rolled_back_or_expired_is_not(
    network: Network, made: Callable[[Network], bytes], why: str
) -> None:
    for version in (2, 3):
        assert renewal.take_trust(network.joined, network.next_trust(version=version), NOW)
    before = network.joined.read("trust.json", bytes)
    with pytest.raises((DeniedError, WireError), match=why):
        renewal.take_trust(network.joined, made(network), NOW)
    assert network.joined.read("trust.json", bytes) == before
    assert network.joined.believed(NOW).trust.version == 3


def test_a_rolled_back_file_is_not_taken_even_where_the_newer_one_is_gone(network: Network) -> None:
    first = network.joined.read("trust.json", bytes)
    assert renewal.take_trust(network.joined, network.next_trust(), NOW)
    with pytest.raises(DeniedError, match="was seen before"):
        renewal.take_trust(network.joined, first, NOW)


def test_a_certificate_is_due_a_month_before_its_end(network: Network) -> None:
    end = own(network.joined).not_after_ms
    assert not renewal.is_due(network.joined, NOW)
    assert not renewal.is_due(network.joined, end - 30 * DAY)
    assert renewal.is_due(network.joined, end - 30 * DAY + 1)
    assert not renewal.is_due(network.founder, end - DAY)  # it renews its own


def test_a_certificate_is_due_a_month_before_its_root_is_trusted_no_more(network: Network) -> None:
    root = make_root(keys.make_p256(), NOW)
    rotated = with_new_root(network.trust, root, NOW, 90 * DAY)
    assert renewal.take_trust(network.joined, seal_trust(rotated, network.operator), NOW)
    assert not renewal.is_due(network.joined, NOW + 60 * DAY)
    assert renewal.is_due(network.joined, NOW + 60 * DAY + 1)
    assert renewal.is_due(network.joined, NOW + 91 * DAY)


def test_a_certificate_of_a_root_that_became_another_s_is_due(network: Network) -> None:
    (before,) = network.trust.anchors
    other = our_anchor(make_root(keys.make_p256(), NOW))
    split = network.next_trust(anchors=(replace(before, known_as="theirs", roles=("peer",)), other))
    assert renewal.take_trust(network.joined, split, NOW)
    assert renewal.is_due(network.joined, NOW)


def test_the_request_is_for_its_own_name_and_key(network: Network) -> None:
    wanted = read_request(renewal.request(network.joined))
    assert wanted.name == "node-2"
    assert keys.fingerprint(wanted.public) == keys.fingerprint(network.key.public_key())


def test_a_new_certificate_takes_the_place_of_the_old(network: Network) -> None:
    made = network.issue(300 * DAY)
    renewal.take_certificate(network.joined, made, network.founder.root, NOW + 300 * DAY)
    assert own(network.joined) == made
    assert network.joined.credentials(NOW + 300 * DAY).chain == made.pem
    assert not renewal.is_due(network.joined, NOW + 340 * DAY)


def test_a_certificate_of_the_next_root_brings_that_root(network: Network) -> None:
    authority.rotate(network.founder, network.operator, NOW)
    made = network.issue(0)
    with pytest.raises(DeniedError, match="root of ours"):
        renewal.take_certificate(network.joined, made, network.founder.root, NOW)
    assert renewal.take_trust(network.joined, network.founder.read("trust.json", bytes), NOW)
    renewal.take_certificate(network.joined, made, network.founder.root, NOW)
    assert network.joined.root == network.founder.root
    assert not renewal.is_due(network.joined, NOW + 100 * DAY)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda network: network.issue(300 * DAY, name="node-3"), "another"),
        (lambda network: network.issue(300 * DAY, role="device"), "another"),
        (lambda network: network.issue(300 * DAY, key=keys.make_p256()), "another key"),
        (lambda network: network.issue(0), "no later"),
        (lambda network: network.issue(300 * DAY, days=40), "no later"),
    ],
)
def test_a_certificate_that_is_not_what_was_asked_for_is_not_taken(
    network: Network, made: Callable[[Network], Certificate], why: str
) -> None:
    before = own(network.joined)
    with pytest.raises(DeniedError, match=why):
        renewal.take_certificate(network.joined, made(network), network.founder.root, NOW + 300 * DAY)
    assert own(network.joined) == before


def test_a_certificate_of_another_root_is_not_taken_nor_one_that_is_revoked(network: Network) -> None:
    signer = keys.make_p256()
    other = make_root(signer, NOW)
    made = issue(signer, other, Subject("peer", "node-2", LOOPBACK), network.key.public_key(), NOW + 300 * DAY)
    foreign = with_anchor(network.trust, replace(our_anchor(other), known_as="theirs", roles=("peer",)))
    for _ in range(2):  # not even of one that is trusted, as another organisation's
        for root in (other, network.founder.root):
            with pytest.raises(DeniedError, match="root of ours"):
                renewal.take_certificate(network.joined, made, root, NOW + 300 * DAY)
        renewal.take_trust(network.joined, seal_trust(foreign, network.operator), NOW)
    revoked = network.issue(300 * DAY)
    authority.revoke(network.joined, Revoked(certificates=frozenset({revoked.serial})), NOW)
    with pytest.raises(WaypostError, match="revoked"):
        renewal.take_certificate(network.joined, revoked, network.founder.root, NOW + 300 * DAY)
