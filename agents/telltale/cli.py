"""The command ``telltale``: finds a subcommand, runs it, and turns errors into one sentence.

In: arguments. Out: text, or JSON with ``--json``. Exit codes: 0 done; 1 finished but not all well;
2 wrong usage or setting; 4 a server does not answer; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from telltale import __version__
from telltale.errors import TelltaleError

# name: (module, attribute, help). Modules are imported when called, so that --help is quick and
# a command needs only what it uses.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("telltale.commands.demo", "demo", "Start everything, judge real photographs, show the verdicts."),
    "up": ("telltale.commands.stack", "up", "Start the embedded Kafka, PostgreSQL and Valkey."),
    "down": ("telltale.commands.stack", "down", "Stop the embedded stack; its data stay."),
    "doctor": ("telltale.commands.stack", "doctor", "Check every dependency; say what is wrong and what to do."),
    "worker": ("telltale.commands.worker", "worker", "Run one stage, or all of them."),
    "submit": ("telltale.commands.submit", "submit", "Send pictures: files, folders or addresses."),
    "watch": ("telltale.commands.watch", "watch", "Show verdicts as they are issued."),
    "show": ("telltale.commands.show", "show", "All the evidence of one image."),
    "topics": ("telltale.commands.topics", "topics", "Create and list topics, with the lag of each stage."),
    "cues": ("telltale.commands.cues", "cues", "Load, list, search and lint the cues."),
    "dead": ("telltale.commands.dead", "dead", "List, show, redrive and drop dead letters."),
    "replay": ("telltale.commands.replay", "replay", "Run past events again, beside the live ones."),
    "schemas": ("telltale.commands.schemas", "schemas", "Write the published JSON Schemas and AsyncAPI document."),
    "lab": ("telltale.commands.lab", "lab", "Bench, training, calibration and evaluation."),
    "bench": ("telltale.commands.bench", "bench", "Measure the stream's speed beside what is possible."),
    "settings": ("telltale.commands.settings", "settings", "Every option, its meaning and its value now."),
    "completion": ("telltale.commands.completion", "completion", "Print the shell completion script."),
}  # fmt: skip


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS)
            ctx.fail(f"no command {args[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="telltale")
def cli() -> None:
    """Streaming detection of manipulated images whose verdicts can be checked.

    \b
    A first run:   telltale demo
    Your picture:  telltale up && telltale worker --all &
                   telltale submit photo.jpg --wait
    """


def main() -> None:
    """Entry point: errors that a person can act on come as one sentence, without a traceback."""
    try:
        code: Any = cli(standalone_mode=False, prog_name="telltale")
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        sys.exit(130)
    except BrokenPipeError:
        # whoever read our output has seen enough; say nothing more, also not at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except TelltaleError as error:
        click.echo(f"telltale: {error}", err=True)
        sys.exit(error.exit_code)
