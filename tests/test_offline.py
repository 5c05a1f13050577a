import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_connections_to_elsewhere_are_refused(host, outside_attempts):
    with pytest.raises(RuntimeError, match="offline"):
        socket.create_connection((host, 80), timeout=1)
    assert outside_attempts
    outside_attempts.clear()


def test_connections_to_this_machine_are_allowed(outside_attempts):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1]), timeout=5).close()
    assert not outside_attempts
