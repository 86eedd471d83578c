"""Fixtures of the mariadb server."""
