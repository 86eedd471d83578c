"""File systems that are soon full or that nobody may write; skipped where nobody may mount one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

Mount = Callable[[Path], Path]


@pytest.fixture
def mount_small_disk() -> Iterator[Mount]:
    """Makes a folder a file system of 64 KiB; all go with the test."""
    with ExitStack() as mounted:
        yield lambda path: mounted.enter_context(_mounted(path, "-o", "size=64k"))


@pytest.fixture
def small_disk(mount_small_disk: Mount, tmp_path: Path) -> Path:
    """A file system of 64 KiB."""
    return mount_small_disk(tmp_path / "small")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that nobody may write."""
    with _mounted(tmp_path / "readonly", "-o", "ro,size=64k") as path:
        yield path


@contextmanager
def _mounted(path: Path, *options: str) -> Iterator[Path]:
    path.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", *options, "none", str(path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield path
    subprocess.run(["umount", path], check=True)
