"""The signals that ask a process to stop."""

import signal

STOPPING = (signal.SIGTERM, signal.SIGINT)


def ignore_stop_signals() -> None:
    """Ignore further signals to stop, because this process is about to exit.

    While Python shuts down, it restores the default handlers: a second SIGTERM would kill the process, and
    its supervisor would see a failure after a clean stop. Python leaves ignored signals alone.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
