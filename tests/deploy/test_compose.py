"""The containers: both compose files and the image's recipe hold, by the tools that read them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from telltale.app import STAGES
from telltale.cli import COMMANDS
from telltale.settings import Settings

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent  # docker-compose and hadolint come as wheels
VARIANTS = {"cpu": ["docker-compose.yml"], "gpu": ["docker-compose.yml", "docker-compose.gpu.yml"]}
OWN = ("prepare", "telltale", *STAGES)


@pytest.fixture(scope="module", params=sorted(VARIANTS))
def services(request, tmp_path_factory) -> dict[str, dict]:
    """The services as docker compose itself resolves them."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "compose.env.example", folder / "deploy" / "compose.env")
    files = VARIANTS[request.param]
    for name in files:
        shutil.copy(ROOT / name, folder)
    chosen = [argument for name in files for argument in ("-f", name)]
    done = subprocess.run(
        [BIN / "docker-compose", *chosen, "--profile", "cli", "config", "--format", "json"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return json.loads(done.stdout)["services"]


def test_every_stage_is_a_service(services: dict[str, dict]) -> None:
    assert set(services) == {"kafka", "postgres", "valkey", *OWN}
    for stage in STAGES:
        assert services[stage]["command"] == ["worker", stage]


def test_every_command_that_is_used_exists(services: dict[str, dict]) -> None:
    for name in OWN:
        command = services[name]["command"]
        assert command[0] in COMMANDS or command == ["--help"], f"{name}: {command}"


def test_every_setting_that_is_used_exists(services: dict[str, dict]) -> None:
    known = {f"TELLTALE_{name.upper()}" for name in Settings.model_fields}
    for name in OWN:
        used = {key for key in services[name]["environment"] if key.startswith("TELLTALE_")}
        assert used <= known, f"{name} sets {used - known}"
        assert {
            "TELLTALE_KAFKA_BOOTSTRAP", "TELLTALE_POSTGRES_DSN", "TELLTALE_REDIS_URL",
        } <= used  # fmt: skip


def test_every_setting_is_of_a_value_that_can_be(services: dict[str, dict]) -> None:
    for name in OWN:
        given = {
            key.removeprefix("TELLTALE_").lower(): value
            for key, value in services[name]["environment"].items()
            if key.startswith("TELLTALE_")
        }
        Settings.model_validate(given)


def test_services_are_confined(services: dict[str, dict]) -> None:
    for name in OWN:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service
    for name, service in services.items():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", f"{name} is open to the network"
        assert not service.get("privileged")


def test_only_what_fetches_reaches_the_world_outside(services: dict[str, dict]) -> None:
    outside = {name for name, service in services.items() if "outside" in service["networks"]}
    gpu = "deploy" in services["detect"]
    fetching_weights = {"prepare", "detect", "retrieve", "judge", "verify", "explain"}
    assert outside == {"intake", *(fetching_weights if gpu else ())}


def test_stages_are_restarted_watched_and_wait_for_what_they_need(
    services: dict[str, dict],
) -> None:
    for stage in STAGES:
        service = services[stage]
        assert service["restart"] == "unless-stopped"
        assert service["depends_on"]["prepare"]["condition"] == "service_completed_successfully"
        port = service["environment"]["TELLTALE_WORKER_PORT"]
        assert f"127.0.0.1:{port}/healthz" in " ".join(service["healthcheck"]["test"])
    for server in ("kafka", "postgres", "valkey"):
        assert services[server]["healthcheck"]["test"]
        assert services["prepare"]["depends_on"][server]["condition"] == "service_healthy"


def test_the_image_is_made_by_the_rules() -> None:
    done = subprocess.run(
        [BIN / "hadolint", ROOT / "deploy" / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_image_copies_is_there_and_let_through() -> None:
    recipe = (ROOT / "deploy" / "Dockerfile").read_text()
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", recipe, re.MULTILINE)
        for word in line.split()[:-1]
    }
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    assert recipe.rstrip().splitlines()[-1] == 'CMD ["worker", "--all"]'
    assert re.search(r"^USER \d+:\d+$", recipe, re.MULTILINE)


def test_settings_in_the_image_exist() -> None:
    recipe = (ROOT / "deploy" / "Dockerfile").read_text()
    known = {f"TELLTALE_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"TELLTALE_[A-Z_]+", recipe)) <= known
