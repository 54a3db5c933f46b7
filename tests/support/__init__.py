"""What the tests stand on: databases, the contract, people, servers."""
