"""Tools that know no user: each could be lifted into another service."""
