# What pytest-xdist does not tell type checkers: as far as tests/support/scheduling.py needs it.
