"""The contract is fuzzed: Schemathesis over the live service (`python -m tests.fuzz --help`)."""
