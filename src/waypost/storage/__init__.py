"""Commits made durable: rows in one SQLite database, files beside it.

A Store is what a driver carries a batch of Commit out with; whoever returns from commit() may reveal
what the batch promised (design, Contracts 1).  Read `store.py`, then `schema.py` (tables, migrations),
then `files.py`.
"""

from waypost.storage.store import Store

__all__ = ["Store"]
