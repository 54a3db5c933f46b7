"""The tests: they mirror the tree, and speak to the service over HTTP where they can."""
