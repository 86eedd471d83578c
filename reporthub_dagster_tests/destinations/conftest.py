"""File systems that are full or may not be written."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    yield from _mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "none")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that nobody may write."""
    yield from _mounted(tmp_path / "readonly", "-t", "tmpfs", "-o", "ro,size=64k", "none")


def _mounted(path: Path, *how: str) -> Iterator[Path]:
    path.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, *how, path], capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)
