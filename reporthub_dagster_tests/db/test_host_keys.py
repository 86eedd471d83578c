"""Keys of machines: the first one is kept, whoever comes at the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from reporthub_dagster.db.host_keys import PinnedHostKeys
from reporthub_dagster.db.session import Hub

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def test_the_first_key_is_kept(hub: Hub, hub_url: str) -> None:
    keys = PinnedHostKeys(lambda: Hub(hub_url, ZoneInfo("UTC")))
    assert keys.find("files.test", 22) is None
    assert keys.pin("Files.test", 22, "ssh-ed25519 AAAA", NOW) == "ssh-ed25519 AAAA"
    assert keys.pin("files.test", 22, "ssh-ed25519 BBBB", NOW) == "ssh-ed25519 AAAA"
    assert keys.find("FILES.test", 22) == "ssh-ed25519 AAAA"
    assert keys.find("files.test", 2222) is None
