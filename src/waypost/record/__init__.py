"""What several rooms share: a change, its clock, and the one form of JSON that is stored and signed.

Read `change.py` (Change, Kind, Key), then `hlc.py`; canonical JSON lies below, for identities sign it too.
"""

from waypost.canonical import canonical, parse_canonical
from waypost.record.change import Change, Key, Kind
from waypost.record.hlc import Hlc, HlcClock

__all__ = ["Change", "Hlc", "HlcClock", "Key", "Kind", "canonical", "parse_canonical"]
