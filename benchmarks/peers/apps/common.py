"""What all peers have in common: who has an account, and what a hash costs."""

import os

USERS = 100_000  # the first of them is an administrator
PASSWORD = "Correct-Horse-Battery-42"
SECRET = "harness-secret-key-0123456789abcdef-0123456789abcdef-0123456789abcdef"
ARGON2 = {"time_cost": 2, "memory_cost": 19456, "parallelism": 1}
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000")


def username(number: int) -> str:
    return f"user{number:06d}"


def email(number: int) -> str:
    return f"{username(number)}@example.com"


def database() -> str:
    """Return the URL of the database that this peer was given."""
    return os.environ["PEER_DATABASE"]
