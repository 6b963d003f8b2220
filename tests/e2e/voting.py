"""A claim at a node of our own process, signed with the key that its first start gave away."""

from secrets import token_hex

from waypost import Node
from waypost.drip.outcome import Outcome, State
from waypost.drip.questions import Claim, Peers, ShowPeers
from waypost.identity.keys import read_private_ed25519
from waypost.record import Committed, Hlc, Record, Stamp
from waypost.runtime.host import wall_clock_ms


async def claim(node: Node, key: str, value: str, before: Committed | None = None) -> Committed:
    """The next version of ("names", key), which holds after this."""
    network = await node.ask(ShowPeers())
    assert isinstance(network, Peers)
    assert node.operator_key is not None
    operator = read_private_ed25519(node.operator_key)
    public = operator.public_key().public_bytes_raw().hex()
    unsigned = Record(
        namespace="names",
        key=key,
        version=before.record.version + 1 if before else 1,
        prev=before.record.hash(network.network) if before else "",
        holder=public,
        home=node.name,
        value=value,
        author=public,
        hlc=Stamp.of(Hlc(wall_clock_ms(), 0)),
        txid=token_hex(16),
        cites=(),
        signature="",
    )
    outcome = await node.ask(Claim(unsigned.signed(network.network, operator.sign)))
    assert isinstance(outcome, Outcome)
    assert outcome.state is State.COMMITTED, outcome
    assert outcome.current is not None
    return outcome.current
