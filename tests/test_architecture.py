"""The house keeps its shape: imports point one way, torch stays in its rooms, nothing runs on import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "agents" / "telltale"

# What a layer may import, by the first part of the module's path below ``telltale``.
GROUND = {
    "errors",
    "topics",
    "regions",
    "events",
    "cues",
    "pictures",
    "measure",
    "fetching",
    "drawing",
    "settings",
    "tally",
}
ALLOWED = {
    "policy": GROUND,
    "models": GROUND,
    "stores": GROUND | {"models"},
    "stack": {"errors", "settings", "topics"},
    "stages": GROUND | {"policy", "models", "stores"},
    "delivery": GROUND | {"policy", "stages", "stores"},
}


def imports(path: Path) -> set[str]:
    """Dotted names imported anywhere in a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


# Rooms in which a client of the broker may be imported, anywhere in a module: what stages, stores and the
# web send or read goes through delivery. ``lab`` measures delivery against other ways to read; ``commands``
# and ``stack`` stand outside the stream: they upload, listen, and ask whether a broker answers.
CLIENTS = {
    "faust": {"delivery", "lab"},
    "mode": {"delivery"},
    "aiokafka": {"delivery", "lab"},
    "confluent_kafka": {"delivery", "lab", "commands", "stack"},
}


def around_delivery(root: Path) -> set[tuple[str, str]]:
    """Modules, below ``root``, that import a client of the broker where they may not, each with the client."""
    return {
        (str(path.relative_to(root)), client)
        for path in root.rglob("*.py")
        for client in {name.split(".")[0] for name in imports(path)} & set(CLIENTS)
        if path.relative_to(root).parts[0] not in CLIENTS[client]
    }


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("layer", sorted(ALLOWED))
def test_a_layer_imports_only_what_lies_below_it(layer: str) -> None:
    for path in sorted((ROOT / layer).rglob("*.py")):
        used = {n.split(".")[1] for n in imports(path) if n.startswith("telltale.")}
        used -= {layer, "__version__"}
        assert used <= ALLOWED[layer], f"{path.name} imports {used - ALLOWED[layer]}"


def test_the_ground_floor_imports_nothing_above_it() -> None:
    for path in sorted(ROOT.glob("*.py")):
        if path.stem in GROUND:
            used = {n.split(".")[1] for n in imports(path) if n.startswith("telltale.")}
            assert used <= GROUND | {"__version__"}, f"{path.name} imports {used - GROUND}"


def test_no_stage_can_bypass_the_delivery_layer() -> None:
    assert not around_delivery(ROOT)


def test_a_room_that_may_import_a_client_does() -> None:
    used = {
        (client, path.relative_to(ROOT).parts[0])
        for path in modules()
        for client in {name.split(".")[0] for name in imports(path)} & set(CLIENTS)
    }
    assert used == {(client, room) for client, rooms in CLIENTS.items() for room in rooms}


@pytest.mark.parametrize(
    ("line", "client"),
    [
        ("import faust", "faust"),
        ("from faust.types import TP", "faust"),
        ("from mode import Service", "mode"),
        ("def send():\n    import aiokafka.errors as errors", "aiokafka"),
        ("if True:\n    from confluent_kafka import Producer", "confluent_kafka"),
    ],
)
def test_a_stage_that_imports_a_client_is_found(tmp_path, line: str, client: str) -> None:
    for room in ("stages", "delivery"):
        (tmp_path / room).mkdir()
    (tmp_path / "stages" / "detect.py").write_text(line)
    (tmp_path / "delivery" / "app.py").write_text(line)
    assert around_delivery(tmp_path) == {("stages/detect.py", client)}


def test_torch_is_imported_only_by_models_and_lab() -> None:
    heavy = {"torch", "torchvision", "open_clip", "ultralytics", "transformers", "pytorch_grad_cam"}
    for path in modules():
        room = path.relative_to(ROOT).parts[0]
        if room in ("models", "lab"):
            continue
        tree = ast.parse(path.read_text())
        top = {
            name.split(".")[0]
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
            )
        }
        assert not top & heavy, f"{path.name} imports {top & heavy}"


def test_the_command_line_answers_without_loading_a_framework() -> None:
    code = (
        "import sys, telltale.cli, telltale.app, telltale.stages.intake\n"
        "print(sorted({'torch', 'faust', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
