"""Commits made durable: rows in one SQLite database, files beside it.

A Store is what a driver carries a batch of Commit out with; whoever returns from commit() may reveal
what the batch promised (design, Contracts 1).  Read `store.py`, then `schema.py` (tables, migrations),
then `files.py`; `reader.py` reads the rows beside it.  The keys of a state directory are in `keyring.py`, what the
operator does to them in `authority.py`, and `private.py` looks who may read them.
"""

from waypost.storage.reader import Reader
from waypost.storage.store import Store

__all__ = ["Reader", "Store"]
