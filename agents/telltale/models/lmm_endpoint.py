"""The judge behind an OpenAI-compatible endpoint (vLLM, hosted services).

In: ``Question``s. Out: one ``Judgment`` each. The schema travels as ``response_format``, pictures
as data URLs. Nothing is raised for what the endpoint does: 429, 5xx, silence and broken
connections are waited out, honouring Retry-After, up to the attempts; nonsense is asked for again;
then the judgment says ``unavailable``, ``late`` or ``unreadable`` and why, never 'authentic'. An endpoint
that answers none of a batch is told to whoever shows health and, once an outage, logged.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import io
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx
from PIL import Image

from telltale import tally
from telltale.events import Judgment
from telltale.models import Question
from telltale.models.lmm_pictures import close_ups, whole
from telltale.models.lmm_prompt import answer_schema, instructions, read_answer, unreadable
from telltale.regions import Pixels
from telltale.settings import Settings

CROP_PX = 336
BACKOFF_S = (0.5, 8.0)
"""First and longest pause between attempts when the endpoint names none; it doubles."""
LONGEST_WAIT_S = 60.0
"""Retry-After beyond this is not waited for: the picture's partition would stand still."""
JPEG_QUALITY = 95
LOG = logging.getLogger(__name__)


class EndpointJudge:
    """Asks an endpoint, at most ``concurrency`` questions at once."""

    needs: tuple[tally.Spared, ...] = ("judge endpoint",)

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 3,
        max_tokens: int = 700,
        concurrency: int = 4,
        crop_px: int = CROP_PX,
        backoff_s: tuple[float, float] = BACKOFF_S,
    ) -> None:
        self.revision, self.crop_px = f"{model}@{url}", crop_px
        self._url, self._model = url.rstrip("/") + "/chat/completions", model
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s, self._attempts, self._max_tokens = timeout_s, attempts, max_tokens
        self._concurrency, self._backoff_s = concurrency, backoff_s
        self._problem: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The judge of the settings, which name an endpoint."""
        assert settings.judge_endpoint is not None
        key = settings.judge_api_key
        return cls(
            settings.judge_endpoint,
            settings.judge_model,
            api_key=key.get_secret_value() if key else None,
            timeout_s=settings.judge_timeout_s,
            attempts=settings.judge_attempts,
            max_tokens=settings.judge_max_tokens,
            concurrency=settings.judge_concurrency,
        )

    def judge(self, questions: Sequence[Question]) -> list[Judgment]:
        """One judgment a question, in order. Runs its own event loop: call it from a thread."""
        with tally.at_work("judge", "endpoint"):
            answers = asyncio.run(self._all(questions))
        self._tell(answers)
        return answers

    def _tell(self, answers: Sequence[Judgment]) -> None:
        """Away is what answers none of a batch: one late answer among others is that picture's."""
        if not answers:
            return
        silent = [a.reason for a in answers if a.status in ("unavailable", "late")]
        problem = silent[0] if len(silent) == len(answers) else None
        if problem and not self._problem:
            LOG.warning("the judge is away, verdicts are inconclusive: %s", problem)
        self._problem = problem
        tally.asked("judge endpoint", problem)

    async def _all(self, questions: Sequence[Question]) -> list[Judgment]:
        gate = asyncio.Semaphore(self._concurrency)
        async with httpx.AsyncClient(headers=self._headers, timeout=self._timeout_s) as client:

            async def one(question: Question) -> Judgment:
                async with gate:
                    return await self._judge(client, question)

            return list(await asyncio.gather(*(one(q) for q in questions)))

    async def _judge(self, client: httpx.AsyncClient, question: Question) -> Judgment:
        body = self._body(question)
        answer = self._failed("unavailable", "it was not asked")
        pause_s = self._backoff_s[0]
        for attempt in range(self._attempts):
            answer, wait_s = await self._once(client, question, body)
            if answer.status == "ok" or wait_s is None or attempt + 1 == self._attempts:
                return answer
            if wait_s > LONGEST_WAIT_S:
                return answer
            await asyncio.sleep(wait_s or (pause_s if answer.status == "unavailable" else 0))
            pause_s = min(2 * pause_s, self._backoff_s[1])
        return answer

    async def _once(
        self, client: httpx.AsyncClient, question: Question, body: Mapping[str, Any]
    ) -> tuple[Judgment, float | None]:
        """One attempt: the judgment, and how long the endpoint wants a next one to wait (0: it
        does not say; None: another attempt would be answered alike)."""
        try:
            async with asyncio.timeout(self._timeout_s):  # httpx's own limit is for each read
                response = await client.post(self._url, json=body)
        except (TimeoutError, httpx.TimeoutException):
            return self._failed("late", f"no answer within {self._timeout_s:g} s"), 0.0
        except httpx.HTTPError as error:
            return self._failed("unavailable", f"{type(error).__name__}: {error}"), 0.0
        if response.status_code in (408, 409, 429) or response.status_code >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after"))
            return self._failed("unavailable", f"it answered {_said(response)}"), wait_s
        if response.status_code != 200:  # 400, 401, 404: asking again changes nothing
            return self._failed("unavailable", f"it answered {_said(response)}"), None
        try:
            choice = response.json()["choices"][0]
            message = choice["message"]
            text = message.get("content")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return unreadable("the endpoint's reply is no chat completion", self.revision), 0.0
        if not isinstance(text, str):
            refusal = message.get("refusal") or "the message has no text"
            return unreadable(str(refusal)[:200], self.revision), 0.0
        return read_answer(text, question, self.revision), 0.0

    def _body(self, question: Question) -> dict[str, Any]:
        shown, crops = close_ups(question)
        pictures = [whole(question.pixels), *crops]
        return {
            "model": self._model,
            "messages": [{"role": "user", "content": [
                *({"type": "image_url", "image_url": {"url": data_url(p)}} for p in pictures),
                {"type": "text", "text": instructions(question, shown)},
            ]}],
            "response_format": {"type": "json_schema", "json_schema": {
                "name": "judgment", "strict": True, "schema": answer_schema(question),
            }},
            "max_tokens": self._max_tokens,
            "temperature": 0,
        }  # fmt: skip

    def _failed(self, status: Any, problem: str) -> Judgment:
        return Judgment(status=status, reason=f"endpoint: {problem}", judge=self.revision)


def retry_after_s(value: str | None) -> float:
    """Seconds in a Retry-After header, a number or an HTTP date; 0 where there is none to read."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def data_url(pixels: Pixels) -> str:
    """A picture as a JPEG data URL, colours unsubsampled so that little evidence is lost."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _said(response: httpx.Response) -> str:
    return f"{response.status_code} {response.text[:160].strip()}".strip()
