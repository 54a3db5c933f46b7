"""Races over HTTP: what is let go at once, at two servers of one database, and never sent again."""
