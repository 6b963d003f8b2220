"""What no honest voter does, and what one that came back with an old disk cannot help.

Two certificates that contradict each other, or two votes of one voter, stop the voting on their key: rule 5.  A vote
that this installation signed and knows nothing of says that its disk is an old copy.

Source: notes on DRiP, 4.4 (rule 5), 4.8; design, Contracts 7.
"""

from typing import Final

from waypost.drip.book import Book
from waypost.drip.counting import order
from waypost.drip.outbox import Outbox
from waypost.drip.roster import Electorate
from waypost.drip.voter import Credentials
from waypost.record import Certificate, Committed, Mark, Proof, Vote
from waypost.record.vote import is_marked, is_proof

ALARMS_MAX: Final = 10_000  # keys on which voting has stopped


class Alarms:
    def __init__(self, book: Book, electorate: Electorate, credentials: Credentials, outbox: Outbox) -> None:
        self._book = book
        self._electorate = electorate
        self._credentials = credentials
        self._outbox = outbox

    def contradicts(self, held: Committed, certificate: Certificate) -> bool:
        """Whether the two cannot both be honest.  A network's first roster has no certificate to contradict."""
        if held.certificate is None:
            follows = certificate.matter.version != 2 or certificate.matter.prev == self._book.hash_of(held)
            return not follows
        return self.receive(Proof(held.certificate, certificate))

    def receive(self, proof: Proof) -> bool:
        """Whether it proves anything."""
        credentials = self._credentials
        proves = is_proof(proof, self._electorate.known, credentials.network, credentials.verify)
        if proves:
            self.stop(proof)
        return proves

    def stop(self, proof: Proof) -> None:
        """Stop voting on the key, and let everybody know."""
        place = proof.first.matter.place
        if place not in self._book.stopped and len(self._book.stopped) < ALARMS_MAX:
            self._book.stop(place, proof)
            self._outbox.spread(proof)

    def look_for_own(self, certificate: Certificate) -> None:
        for mark in certificate.marks:
            if mark.voter == self._electorate.name and not certificate.matter.is_forced and self._has_forgotten(mark):
                self._electorate.forget()

    def receive_own(self, vote: Vote) -> None:
        """Somebody says that this node signed it."""
        if self._has_forgotten(vote.mark) and self._is_ours(vote):
            self._electorate.forget()

    def _has_forgotten(self, mark: Mark) -> bool:
        """Whether this installation signed a vote that its disk knows nothing of."""
        me = self._electorate.me
        if me is None or me.forgot or mark.voter != self._electorate.name:
            return False
        return order(mark) > (me.incarnation, me.counter) and mark.incarnation == me.incarnation

    def _is_ours(self, vote: Vote) -> bool:
        roster = self._electorate.known(vote.matter.ballot.epoch)
        credentials = self._credentials
        return roster is not None and is_marked(vote.matter, vote.mark, roster, credentials.network, credentials.verify)
