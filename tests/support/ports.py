"""Free ports for servers that tests start."""

import random
import socket

# Below the range from which Linux gives ports to outgoing connections (ip_local_port_range): no connection
# of a test that runs at the same time takes the port before the server listens on it.
PORTS = range(20_000, 32_000)
_random = random.SystemRandom()  # pytest-randomly gives every process the same seed


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
