"""Who a node is, by its configuration and the keys of its state directory."""

import time
from functools import partial
from ipaddress import ip_address

from waypost.assembly.installation import Installation
from waypost.config import Config
from waypost.drip.gaps import ReadRows
from waypost.drip.literal import Peer as LiteralPeer
from waypost.identity.certificates import identity_of, read_certificates
from waypost.identity.keys import signer, verifies
from waypost.ledger.checkpoint import cosigner_of
from waypost.ledger.note import Algorithm, Key
from waypost.ledger.questions import Notary, Outside
from waypost.record.verification import Remembering
from waypost.runtime.addresses import listen_address
from waypost.runtime.host import wall_clock_ms
from waypost.storage.files import read_file
from waypost.storage.keyring import Keyring
from waypost.storage.network import known_network


def open_keys(config: Config) -> Keyring:
    """Those of the state directory, all made at the first start.  Raises ConfigError if one is not as it must be."""
    sections = (getattr(config, name) for name in config.__struct_fields__)
    texts = [text for section in sections for text in getattr(section, "listen", ())]
    addresses = [ip_address(listen_address(text).host) for text in texts]
    hosts = [str(address) for address in addresses if not address.is_unspecified]
    return Keyring.open(config.dir, time.time_ns() // 1_000_000, hosts=(*hosts, *config.http.hosts))


def open_network(config: Config, keyring: Keyring, read: ReadRows) -> Installation:
    """Who this node is in its network; `read` reads rows of its disk.  Raises ConfigError."""
    now_ms = wall_clock_ms()
    own, *_ = read_certificates(keyring.credentials(now_ms).chain)
    _, _, name = identity_of(own)
    known = known_network(keyring)
    public, verify = keyring.node.public_key().public_bytes_raw(), Remembering(verifies)
    return Installation(
        name,
        public.hex(),
        keyring.operator.public_bytes_raw().hex(),
        config.peers.organisation,
        now_ms,
        verify.signing(public, signer(keyring.node)),
        verify,
        known.founding if known else None,
        known.contacts if known else {},
        carries=config.rd.carrier == "mesh",
        literal=tuple(LiteralPeer(peer.name, bool(peer.url)) for peer in config.peers.drip_02),
        notary=open_log(config, keyring, name),
        intent_life_s=config.peers.intents_s,
        read=read,
    )


def open_log(config: Config, keyring: Keyring, name: str) -> Notary:
    """The log of the node `name`.  Raises ConfigError."""
    ledger, origin = config.ledger, config.ledger.origin or f"waypost/{name}"
    return Notary(
        name,
        origin,
        Key(origin, Algorithm.ED25519, keyring.log.public_key().public_bytes_raw()),
        keyring.log.sign,
        Key(cosigner_of(origin), Algorithm.COSIGNATURE, keyring.cosigner.public_key().public_bytes_raw()),
        keyring.cosigner.sign,
        keyring.node.sign,
        verifies,
        partial(read_file, config.dir),
        tuple(Outside(Key.decode(witness.key), witness.url) for witness in ledger.witnesses),
        tuple(map(Key.decode, ledger.witnessed)),
        ledger.quorum,
        ledger.round_s,
        ledger.idle_round_s,
    )
