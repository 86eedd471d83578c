"""What can be known of the container files without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from reporthub_dagster.cli import main
from reporthub_dagster.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "reporthub"}


def test_there_is_everything_that_production_needs() -> None:
    assert set(SERVICES) == {"mysql", "rabbitmq", "init", "code-server", "webserver", "daemon", "worker"}
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


def test_nothing_is_open_to_the_outside_and_only_who_needs_it_gets_out() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == []
    assert COMPOSE["networks"]["internal"] == {"internal": True}
    out = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    assert out == {"code-server", "worker"}


def test_every_variable_is_a_setting_and_every_one_that_the_instance_reads_is_given() -> None:
    read = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster.yaml").read_text(encoding="utf-8")))
    known = {field.alias for field in Settings.model_fields.values()}
    for service in OURS.values():
        assert read <= set(service["environment"])
        assert set(service["environment"]) <= known | read


def test_the_examples_name_what_a_person_fills_in() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", (DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert names_in("example.env") == asked
    assert names_in("reporthub.example.env") <= {field.alias for field in Settings.model_fields.values()}
    assert {service["env_file"] for service in OURS.values()} == {"reporthub.env"}


def names_in(file: str) -> set[str]:
    """The variables of an example."""
    return set(re.findall(r"^(\w+)=", (DEPLOY / file).read_text(encoding="utf-8"), re.MULTILINE))


def test_nothing_starts_before_the_tables_are_there() -> None:
    assert SERVICES["init"]["command"] == ["reporthub", "init"]
    for name in set(OURS) - {"init"}:
        assert SERVICES[name]["depends_on"]["init"] == {"condition": "service_completed_successfully"}


def test_a_worker_has_longer_to_end_than_its_reports() -> None:
    command = SERVICES["worker"]["command"]
    grace = int(command[command.index("--grace") + 1])
    minutes = re.fullmatch(r"(\d+)m", SERVICES["worker"]["stop_grace_period"])
    assert minutes is not None
    assert int(minutes[1]) * 60 > grace + 15


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_is_installed(name: str) -> None:
    program, *arguments = OURS[name]["command"]
    scripts = {"reporthub", "dagster", "dagster-daemon", "dagster-webserver"}
    assert program in scripts
    if program == "reporthub":
        options = [word for word in arguments if word.startswith("--")]
        shown = CliRunner().invoke(main, [arguments[0], "--help"]).output
        assert [option for option in options if option not in shown] == []


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        path.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for path in line.split()
    }
    assert copied == allowed
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_image_has_every_kind_from_the_lock_file_by_the_same_uv_and_runs_as_nobody_special() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    version = re.search(r"uv==([\d.]+)", makefile)
    assert version is not None
    assert f"uv=={version[1]}" in DOCKERFILE
    assert DOCKERFILE.count("uv sync --frozen --no-default-groups --all-extras") == 2
    assert "\nUSER reporthub\n" in DOCKERFILE
