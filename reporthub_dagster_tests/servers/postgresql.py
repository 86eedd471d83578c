"""Fixtures of the postgresql server."""
