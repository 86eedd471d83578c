"""Fixtures of the smtp server."""
