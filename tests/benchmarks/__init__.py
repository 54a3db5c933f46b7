"""Smoke tests of every benchmark, and tests of what they do about failures."""
