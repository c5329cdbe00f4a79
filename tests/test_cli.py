"""The command line: it teaches, its exit codes mean something, and what goes wrong is one sentence."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import click
import pytest

from telltale.cli import COMMANDS, cli


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from telltale.cli import main; main()", *arguments],
        env={**os.environ, **variables}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def commands() -> list[tuple[str, click.Command]]:
    """Every command and subcommand with its full name."""
    found = []
    for name, (module, attribute, _) in COMMANDS.items():
        command = getattr(importlib.import_module(module), attribute)
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", c) for sub, c in command.commands.items()]
    return found


@pytest.mark.parametrize(
    ("name", "command"), commands(), ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_command_explains_itself_and_its_options(name: str, command: click.Command) -> None:
    assert (command.help or "").strip(), name
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ("seed", "out"):
            assert option.help, f"{name} {option.opts}"


def test_help_lists_every_command() -> None:
    shown = click.Context(cli).get_help()
    assert all(name in shown for name in COMMANDS)


def test_a_mistyped_command_is_guessed() -> None:
    done = run("subnit")
    assert done.returncode == 2
    assert "submit" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("submit", "/no/such/file.jpg"), "telltale up"),
        (("show", "x"), "telltale up"),
        (("worker", "--all"), "telltale up"),
        (("worker", "polish"), "polish"),
        (("lab", "evaluate", "--bench", "/no/such"), "/no/such"),
    ],
)
def test_what_goes_wrong_is_one_sentence_without_a_traceback(tmp_path, arguments, names) -> None:
    done = run(*arguments, TELLTALE_HOME=str(tmp_path))
    assert done.returncode == 2
    assert names in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_wrong_setting_is_named_with_what_it_means() -> None:
    done = run("settings", TELLTALE_ATTEMPTS="many")
    assert done.returncode == 2
    assert "TELLTALE_ATTEMPTS" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broker_that_does_not_answer_has_its_own_exit_code(tmp_path) -> None:
    away = {
        "TELLTALE_KAFKA_BOOTSTRAP": "127.0.0.1:9", "TELLTALE_POSTGRES_DSN": "postgresql://x@127.0.0.1:9/x",
        "TELLTALE_REDIS_URL": "redis://127.0.0.1:9/0", "TELLTALE_HOME": str(tmp_path),
    }  # fmt: skip
    done = run("watch", "--count", "1", **away)
    assert done.returncode == 4
    assert "127.0.0.1:9" in done.stderr


def test_settings_are_listed_with_secrets_masked() -> None:
    done = run("settings", "--json", TELLTALE_KAFKA_PASSWORD="geheim")
    values = json.loads(done.stdout)
    assert values["profile"] in ("mini", "standard")
    assert "geheim" not in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_TELLTALE_COMPLETE" in done.stdout


def test_cues_are_listed_as_one_json_list() -> None:
    listed = json.loads(run("cues", "list", "--json").stdout)
    assert len(listed) >= 90
    assert {"cue_id", "region", "artifact", "natural", "verifier"} <= set(listed[0])
    for cue in listed:
        assert [source["doc_id"] for source in cue["sources"]] == cue["documents"] != []
        for source in cue["sources"]:
            assert {"authors", "title", "year", "source"} <= set(source)
            assert source["supports"]["en"]
            assert source["supports"]["ko"]


def test_a_faulty_corpus_fails_the_lint(tmp_path) -> None:
    (tmp_path / "documents.yaml").write_text("[]")
    done = run("cues", "lint", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.strip()
