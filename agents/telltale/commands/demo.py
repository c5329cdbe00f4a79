"""``telltale demo``: the whole product on real photographs, from nothing to a report.

Starts the embedded stack (or finds it running), prepares it, starts every stage, uploads photographs
beside manipulated copies of them, and shows each verdict as it arrives. Leaves ``report.html`` and
``summary.json``. Exit code 1 when a verdict or an explanation did not come.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from telltale import topics
from telltale.app import Wiring
from telltale.commands.demo_pictures import DemoPicture, make_pictures
from telltale.commands.listening import Heard, Listener
from telltale.commands.preparing import prepare
from telltale.commands.report import Result, picture_keys, write
from telltale.commands.uploading import Uploader
from telltale.commands.verdicts import STYLES, line, number
from telltale.commands.workers import keep_worker, start_worker, stop_worker, wait_ready
from telltale.events import ExplanationReady, VerdictIssued
from telltale.settings import load_settings

QUIET_S = 180.0  # with no event for this long, something is wrong


@click.command()
@click.option("--keep", is_flag=True, help="Leave the stack and the workers running.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Where the report goes.",
)
def demo(keep: bool, out: Path) -> int:
    """Judge real photographs and manipulated copies of them, with everything running here."""
    from telltale.stack import down, read_endpoints, up

    began = time.monotonic()
    screen = Console(highlight=False)
    settings = load_settings()
    with ExitStack() as undo:
        found = read_endpoints(settings.home)
        up(settings.home, screen.print)
        if found is None:  # a stack that ran before goes on running
            undo.callback(down, settings.home)
        wiring = Wiring(settings)
        if wiring.endpoints is not None and wiring.endpoints.broker == "mock":
            screen.print(
                "[yellow]broker: the stand-in from a wheel, as the real one cannot be fetched here[/]"
            )
        prepare(wiring, screen.print)
        log = settings.home / "logs" / "worker-demo.log"
        process, port = start_worker(settings, "--all", log)
        undo.callback(stop_worker, process)
        pictures = make_pictures(out / "pictures", wiring.detector, screen.print)
        wait_ready(process, port, log)
        screen.print(f"stack and all seven stages run after {time.monotonic() - began:.0f} s")
        shown = _Demo(wiring, screen)
        results, first_s = shown.run(pictures)
        write(
            out,
            results,
            first_s and round(first_s + shown.sent_at - began, 1),
            wiring.blobs.get_picture,
        )
        screen.print(_table(results))
        screen.print(f"report   {out / 'report.html'}\nsummary  {out / 'summary.json'}")
        if keep:
            keep_worker(settings, process)
            undo.pop_all()
            screen.print(
                "\nThe stack and the workers keep running. Send a picture of your own:\n"
                "  .venv/bin/telltale submit photo.jpg --wait\n"
                "and stop everything with:\n"
                "  .venv/bin/telltale down"
            )
    return 0 if all(r.verdict and r.explanation for r in results) else 1


class _Demo:
    def __init__(self, wiring: Wiring, screen: Console) -> None:
        self._wiring, self._screen = wiring, screen
        self._listener = Listener(wiring.settings, topics.ISSUED, topics.EXPLAINED)
        self._results: dict[str, Result] = {}
        self.sent_at = time.monotonic()

    def run(self, pictures: list[DemoPicture]) -> tuple[list[Result], float | None]:
        """Upload all, then follow; returns the results and seconds to the first verdict."""
        uploader = Uploader(self._wiring.settings, self._wiring.blobs)
        for picture in pictures:
            event = uploader.send(str(picture.file))
            self._results[event.image_id] = Result(
                event.image_id, picture.file, picture.manipulated
            )
        uploader.flush()
        first_s: float | None = None
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._screen) as progress:
            verdicts = progress.add_task("verdicts", total=len(pictures))
            drawn = progress.add_task("explanations", total=len(pictures))
            heard_at = time.monotonic()
            while not self._done() and time.monotonic() - heard_at < QUIET_S:
                heard = self._listener.poll(0.5)
                result = self._results.get(heard.event.image_id) if heard else None
                if heard is None or result is None:
                    continue
                heard_at = time.monotonic()
                if isinstance(heard.event, VerdictIssued) and result.verdict is None:
                    first_s = first_s or heard_at - self.sent_at
                    self._verdict(result, heard, heard.event, progress)
                    progress.advance(verdicts)
                elif isinstance(heard.event, ExplanationReady) and result.explanation is None:
                    self._explanation(result, heard.event, progress)
                    progress.advance(drawn)
        self._listener.close()
        return list(self._results.values()), first_s

    def _done(self) -> bool:
        return all(r.verdict and r.explanation for r in self._results.values())

    def _verdict(
        self, result: Result, heard: Heard, event: VerdictIssued, progress: Progress
    ) -> None:
        result.verdict, result.latency_ms = event, round(heard.latency_ms, 1)
        done = f"[{result.manipulated or 'untouched'}] {result.file.name}"
        progress.console.print(line(done, event, heard.latency_ms))

    def _explanation(self, result: Result, event: ExplanationReady, progress: Progress) -> None:
        result.explanation = event
        result.pictures = [self._wiring.blobs.picture_path(k) for k in picture_keys(event)]
        progress.console.print(f"{'':13}drawn: {result.pictures[0]}", style="dim")


def _table(results: list[Result]) -> Table:
    right = sum(r.right is True for r in results)
    wrong = sum(r.right is False for r in results)
    table = Table(
        "picture", "what was done to it", "verdict", "probability", "reliability", "claims borne out", "latency",
        title=f"{len(results)} pictures: {right} right, {wrong} wrong, {len(results) - right - wrong} undecided",
    )  # fmt: skip
    for r in results:
        if r.verdict is None:
            table.add_row(r.file.name, r.manipulated or "nothing", "none came")
            continue
        v = r.verdict.verdict
        borne_out = sum(c.status == "supported" for c in v.claims)
        table.add_row(
            r.file.name, r.manipulated or "nothing", f"[{STYLES[v.verdict]}]{v.verdict}[/]",
            number(v.probability), number(v.reliability), f"{borne_out} of {len(v.claims)}",
            f"{(r.latency_ms or 0) / 1000:.1f} s",
        )  # fmt: skip
    return table
