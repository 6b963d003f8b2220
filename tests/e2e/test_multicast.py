"""A device that knows no address finds the directory, over a cable between two hosts."""

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from namespaces import two_hosts
from running import running

LEISURE_S = 6  # for all answers to come (RFC 7252, 8.2)
GROUPS = {  # and from which address the answer is to come
    "224.0.1.187": "198.51.100.1",
    "224.0.1.190": "198.51.100.1",
    "[ff02::fd%far]": "[2001:db8:1::1]",  # RFC 9176, 4.1: not from the link-local address
    "[ff02::fe%far]": "[2001:db8:1::1]",
    "[ff05::fd]": "[2001:db8:1::1]",
    "[ff05::fe]": "[2001:db8:1::1]",
}
LISTEN = {"insecure": "coap", "coap__listen": "0.0.0.0:5683,[::]:5683", "coap__transports": "udp"}


@pytest.mark.peer("coap-client-notls", "unshare:net")
def test_the_directory_is_found_by_asking_everybody(tmp_path: Path) -> None:
    """RFC 9176, 4.1 and 9.5; RFC 7252, 8 and 12.8.  What is not there, and what is an error, stays unanswered."""
    with (
        two_hosts() as (here, there),
        running(tmp_path / "node", here.enter, coap__multicast=here.cable, **LISTEN),
        ThreadPoolExecutor(2 * len(GROUPS) + 1) as pool,
    ):

        def ask(host: str, target: str) -> str:
            client = ["coap-client-notls", "-v", "7", "-N", "-B", str(LEISURE_S), f"coap://{host}{target}"]
            command = [*there.enter, *client]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=4 * LEISURE_S)
            return done.stdout + done.stderr

        found = [pool.submit(ask, group, "/.well-known/core?rt=core.rd") for group in GROUPS]
        silent = [pool.submit(ask, group, "/.well-known/core?rt=nothing") for group in GROUPS]
        error = pool.submit(ask, "224.0.1.190", "/nothing")
        for group, answer in zip(GROUPS, found, strict=True):
            shown = answer.result()
            assert '</rd>;rt="core.rd"' in shown, shown
            assert re.findall(r"<-> (\S+):5683 UDP : received", shown) == [GROUPS[group]]
        for answer in (*silent, error):
            assert " c:GET " in answer.result()
            assert "received" not in answer.result()
