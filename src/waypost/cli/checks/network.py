"""How a running node's network is, by its figures."""

from waypost.cli.checks import fail, fine, skip, warn
from waypost.cli.checks.running import Running
from waypost.cli.reports import Finding


def check_network(running: Running) -> list[Finding]:
    figures = running.figures
    if "waypost_quorum" not in figures:
        return [skip("network", "no node runs here that would say how its network is")]
    voters, heard, needed, cut, stopped, restored = (
        int(figures.get(f"waypost_{name}", 0))
        for name in ("voters", "voters_heard", "voters_needed", "nodes_cut", "votes_stopped", "voters_restored")
    )
    found: list[Finding] = []
    if not figures["waypost_quorum"]:
        sentence = f"{heard} of {voters} voters are heard, and {needed} are needed: nothing can be claimed here"
        found.append(fail("network", sentence, "`waypost peers` shows which of them are away"))
    if stopped:
        sentence = f"a voter signed two records: there are no votes on {stopped} keys"
        found.append(fail("network", sentence, "`waypost votes` shows which keys, and the proofs"))
    if restored:
        sentence = f"{restored} voters came back with an old disk, and must not vote"
        found.append(
            warn("network", sentence, "start each on an empty directory, and promote it: `waypost peers promote`")
        )
    if thefts := int(figures.get("waypost_peers_other_key_total", 0)):
        sentence = f"{thefts} times somebody showed a certificate for a member and another key than the roster has"
        hint = "if no node was given new keys, the authority's key is stolen: `waypost ca rotate`"
        found.append(fail("network", sentence, hint))
    if old := int(figures.get("waypost_members_old", 0)):
        sentence = f"{old} members speak an older wire than this node"
        hint = "`waypost peers` shows which: until they are updated, nodes are known by name, and not by key"
        found.append(warn("network", sentence, hint))
    if waiting := int(figures.get("waypost_intents", 0)):
        oldest = round(figures.get("waypost_intents_oldest_seconds", 0) / 60)
        sentence = f"{waiting} claims wait here for a quorum of voters, the oldest for {oldest} minutes"
        found.append(warn("network", sentence, "`waypost votes` shows which, and `waypost peers` who is away"))
    if cut:
        sentence = f"{cut} nodes cannot be reached from here: votes go by way of others"
        found.append(warn("network", sentence, "can this machine connect to their peers' ports?"))
    return found or [fine("network", f"{heard} of {voters} voters are heard, and {needed} are needed")]
