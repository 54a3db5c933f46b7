"""Tessera: user accounts and token login as a REST-only JSON API."""

__version__ = "0.1.0"
