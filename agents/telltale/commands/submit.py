"""``telltale submit``: send pictures, and wait for their verdicts if asked to.

Exit code 1 when a verdict has not come in time; the images concerned are named.
"""

from __future__ import annotations

import json
import time

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from telltale import topics
from telltale.app import Wiring
from telltale.commands.listening import Heard, Listener, require_topics
from telltale.commands.uploading import Uploader, sources
from telltale.commands.verdicts import as_json, line
from telltale.events import VerdictIssued
from telltale.settings import load_settings


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.option("--wait", is_flag=True, help="Wait for the verdict of each picture and show it.")
@click.option(
    "--json",
    "json_lines",
    is_flag=True,
    help="One JSON object a line: ids, or verdicts with --wait.",
)
@click.option(
    "--timeout",
    default=600.0,
    show_default=True,
    help="Seconds without any verdict before giving up waiting.",
)
def submit(source: tuple[str, ...], wait: bool, json_lines: bool, timeout: float) -> int:
    """Send each SOURCE: a picture file, a folder of pictures, or an address.

    \b
    telltale submit photo.jpg --wait
    telltale submit uploads/ https://example.com/picture.png
    """
    waiting = _Submission(wait, json_lines, timeout)
    return waiting.run(source)


class _Submission:
    def __init__(self, wait: bool, json_lines: bool, timeout_s: float) -> None:
        wiring = Wiring(load_settings())
        self._json, self._timeout_s = json_lines, timeout_s
        self._out = Console(highlight=False)
        self._pending: dict[str, str] = {}
        require_topics(wiring.settings, topics.UPLOADED)
        self._listener = Listener(wiring.settings, topics.ISSUED) if wait else None
        self._uploader = Uploader(wiring.settings, wiring.blobs)

    def run(self, given: tuple[str, ...]) -> int:
        total = sum(1 for _ in sources(given))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            sent = progress.add_task("sent", total=total)
            judged = progress.add_task("verdicts", total=total, visible=self._listener is not None)
            for source in sources(given):
                event = self._uploader.send(source)
                progress.advance(sent)
                if self._listener is None:
                    self._print_id(source, event.image_id)
                    continue
                self._pending[event.image_id] = source
                # verdicts are taken while sending, so that neither waits for the other
                while (heard := self._listener.poll(0)) is not None:
                    progress.advance(judged, self._told(heard))
            self._uploader.flush()
            if self._listener is not None:
                self._await(progress, judged)
        if not total:
            Console(stderr=True).print("nothing to send: no pictures in what was given")
        return 1 if self._pending else 0

    def _await(self, progress: Progress, judged: object) -> None:
        assert self._listener is not None  # only called when waiting
        heard_at = time.monotonic()
        while self._pending and time.monotonic() - heard_at < self._timeout_s:
            if (heard := self._listener.poll(0.5)) is not None and (told := self._told(heard)):
                progress.advance(judged, told)  # type: ignore[arg-type]  # a rich TaskID
                heard_at = time.monotonic()
        self._listener.close()
        for image_id, source in list(self._pending.items())[:20]:
            Console(stderr=True).print(
                f"no verdict for {source} ({image_id}) in {self._timeout_s:g} s; is a worker running? "
                "'telltale topics list' shows where it waits"
            )

    def _told(self, heard: Heard) -> int:
        event = heard.event
        if not isinstance(event, VerdictIssued) or event.image_id not in self._pending:
            return 0
        source = self._pending.pop(event.image_id)
        if self._json:
            click.echo(json.dumps(as_json(source, event), ensure_ascii=False))
        else:
            self._out.print(line(f"{source}  {event.image_id}", event, heard.latency_ms))
        return 1

    def _print_id(self, source: str, image_id: str) -> None:
        if self._json:
            click.echo(json.dumps({"file": source, "image_id": image_id}))
        else:
            click.echo(f"{image_id}  {source}")
