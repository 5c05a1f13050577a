"""For every test: nothing from a hub, no progress bars, and no connection that leaves this machine."""

from __future__ import annotations

import os

# Libraries read these once, when they are imported, so they come before every other import.
os.environ.update(HF_HUB_OFFLINE="1", TQDM_DISABLE="1")

import ipaddress
import socket
import sys

import pytest

attempts: list[str] = []


def _is_here(host) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False  # a name: looking it up already asks the outside
    return address.is_loopback or address.is_unspecified


def _refuse_outside(event: str, args: tuple) -> None:
    """An audit hook sees every socket of this process, whichever library opened it."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple):
        host = args[1][0]
    else:
        return
    if not _is_here(host):
        attempts.append(f"{event} {host!r}")
        raise RuntimeError(f"{event} {host!r}: the tests run offline")


sys.addaudithook(_refuse_outside)


@pytest.fixture(autouse=True)
def outside_attempts():
    """Fails a test that tried to leave this machine, even where a library swallowed the refusal."""
    attempts.clear()
    yield attempts
    assert not attempts, f"the tests run offline, but this one tried {attempts}"
