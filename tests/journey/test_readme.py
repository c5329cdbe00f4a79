"""The README's commands, taken out of it and run as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[2]
DEMO_S = 900


def commands(readme: str) -> list[str]:
    """Lines after a prompt in console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
    return [
        line.removeprefix("$ ")
        for block in blocks
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of its own; demo/ of the checkout is put back afterwards."""
    where = tmp_path_factory.mktemp("readme")
    kept = where / "kept-demo"
    if (ROOT / "demo").exists():
        shutil.move(ROOT / "demo", kept)
    yield where
    shutil.rmtree(ROOT / "demo", ignore_errors=True)
    if kept.exists():
        shutil.move(kept, ROOT / "demo")


def run(command: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env={**environment, "TELLTALE_HOME": str(home)},
        capture_output=True, text=True, timeout=DEMO_S,
    )  # fmt: skip


def test_both_readmes_give_the_same_commands() -> None:
    assert commands("README.md") == commands("README.ko.md")
    assert commands("README.md")[:2] == ["make demo", "make test"]


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.timeout(2 * DEMO_S)
def test_the_commands_of_the_readme_do_what_it_says(home) -> None:
    demo, test, *own = commands("README.md")
    assert test == "make test"  # this very run

    done = run(demo, home)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    summary = json.loads((ROOT / "demo" / "summary.json").read_text())
    assert (
        summary["uploaded"]
        == summary["verdicts"]
        == summary["explanations"]
        == len(summary["images"])
        > 3
    )
    assert summary["first_verdict_s"] > 0
    for image in summary["images"]:
        assert image["verdict"] in ("manipulated", "authentic", "inconclusive")
        assert image["latency_ms"] > 0
        assert all(Path(p).is_file() for p in image["pictures"])
    assert any(i["manipulated"] for i in summary["images"])
    assert any(i["manipulated"] is None for i in summary["images"])
    report = (ROOT / "demo" / "report.html").read_text()
    assert all(i["image_id"] in report for i in summary["images"])
    # it opens without a network: nothing is loaded from anywhere
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", report)
    assert not (home / "stack.json").exists()

    photo = home / "photo.jpg"
    Image.fromarray(data.astronaut()).save(photo)
    image_id = ""
    try:
        for command in own:
            done = run(command.replace("photo.jpg", str(photo)).replace("IMAGE_ID", image_id), home)
            assert done.returncode == 0, f"{command}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
            if "submit" in command:
                assert re.search(r"p=\d\.\d\d", done.stdout)
                image_id = re.search(r"photo-[0-9a-f]{8}", done.stdout).group()
            if "show" in command:
                assert "overview.jpg" in done.stdout or "not drawn yet" in done.stdout
    finally:
        run(".venv/bin/telltale down", home)
    assert "telltale down" in own[-1]
