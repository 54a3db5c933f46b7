"""What people use instead, as small as it gets, for the same work."""
