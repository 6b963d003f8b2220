"""A JSON Schema for each verb: of all that `-o json` writes, and of a line of `-o jsonl`.

`python -m waypost.cli.schemas docs/schemas` writes them, a file for each.
"""

import sys
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec

from waypost.api import claims, logged, voted
from waypost.api import schemas as api
from waypost.cli import reports, scenes

LINE: Final = "line"  # in $defs: of a line
DEFINITION: Final = "#/$defs/{name}"

# The reports of each verb, any one of them; a list is written item by item with -o jsonl.
REPORTS: Final[dict[str, tuple[Any, ...]]] = {
    "run": (reports.Ready,),
    "init": (reports.Prepared,),
    "demo": (list[scenes.Story],),
    "status": (api.NodeStatus,),
    "register": (api.Registered,),
    "renew": (api.Endpoint,),
    "unregister": (reports.Unregistered,),
    "find": (list[api.Link], list[api.Endpoint], voted.Standing, list[logged.Version]),
    "watch": (api.Event,),
    "evict": (reports.Evicted, list[api.Eviction], reports.Readmitted),
    "export": (reports.Written, api.Exported),
    "import": (reports.Taken,),
    "claim": (voted.Claimed,),
    "transfer": (voted.Claimed, claims.Taking),
    "history": (list[logged.Version],),
    "prove": (reports.Proven,),
    "verify": (reports.Verified, reports.Convicted),
    "log status": (logged.Log,),
    "log policy": (reports.WrittenPolicy,),
    "log prove": (reports.Proven,),
    "log add": (reports.Stated,),
    "log diff": (list[reports.Difference],),
    "log evidence": (list[reports.EvidenceFile],),
    "log fsck": (list[reports.FoundLog],),
    "log audit": (reports.CheckedLog,),
    "log resume": (logged.Log,),
    "peers list": (voted.Peers,),
    "peers promote": (voted.Claimed,),
    "peers remove": (voted.Claimed,),
    "peers allow": (voted.Claimed,),
    "peers force": (voted.Claimed,),
    "votes": (voted.Votes,),
    "ca show": (reports.Authority,),
    "ca list": (list[reports.Certified],),
    "ca issue": (reports.Certified,),
    "ca revoke": (reports.Revocation,),
    "ca rotate": (reports.Rotated,),
    "ca renew": (reports.Trusting,),
    "ca trust add": (reports.Trusted,),
    "ca trust remove": (reports.Trusting,),
    "policy show": (list[reports.Rule],),
    "policy check": (reports.CheckedPolicy,),
    "policy test": (reports.Decided,),
    "token create": (api.GivenToken,),
    "token list": (list[api.Token],),
    "token revoke": (reports.TokenRevoked,),
    "join": (reports.Joined,),
    "backup create": (reports.BackedUp,),
    "backup verify": (reports.CheckedBackup,),
    "restore": (reports.Restored,),
    "config show": (list[reports.Set],),
    "config check": (reports.Checked,),
    "config reference": (list[reports.Described],),
    "doctor": (list[reports.Finding],),
    "report": (reports.Bundled,),
    "completion": (reports.Script,),
}
ERROR: Final = "error"  # what any verb that fails writes to standard error
# Written one after another, as they happen, with -o json too.
STREAMS: Final = ("export", "watch", "log audit")


def document(verb: str) -> dict[str, Any]:
    """The schema of a verb of REPORTS, or of ERROR."""
    kinds = (reports.Error,) if verb == ERROR else REPORTS[verb]
    lines = [get_args(kind)[0] if get_origin(kind) is list else kind for kind in kinds]
    described, components = msgspec.json.schema_components([*kinds, *lines], ref_template=DEFINITION)
    whole, line = (_any(described[: len(kinds)]), _any(described[len(kinds) :]))
    assert LINE not in components
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "an error" if verb == ERROR else f"waypost {verb}",
        "description": _description(verb, whole == line),
    }
    return head | whole | {"$defs": {LINE: line, **dict(sorted(components.items()))}}


def files() -> dict[str, bytes]:
    """The name of each file and what is in it."""
    texts = {verb.replace(" ", "-") + ".json": msgspec.json.encode(document(verb)) for verb in (*REPORTS, ERROR)}
    return {name: msgspec.json.format(text, indent=2) + b"\n" for name, text in texts.items()}


def _any(kinds: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return kinds[0] if len(kinds) == 1 else {"anyOf": list(kinds)}


def _description(verb: str, same: bool) -> str:
    if verb == ERROR:
        return "On one line of standard error, with -o json and -o jsonl."
    if verb in STREAMS:
        return "Each JSON text of -o json and of -o jsonl."
    whole = "All that -o json writes"
    return f"{whole}, and the line of -o jsonl." if same else f"{whole}; $defs/{LINE} is a line of -o jsonl."


if __name__ == "__main__":
    for name, text in files().items():
        Path(sys.argv[1], name).write_bytes(text)
