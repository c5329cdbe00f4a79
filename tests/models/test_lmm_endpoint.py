"""The judge behind an endpoint, against a real HTTP server that speaks OpenAI's protocol."""

import asyncio
import base64
import json
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from aiohttp import web

from telltale import tally
from telltale.models.lmm import load_judge
from telltale.models.lmm_endpoint import EndpointJudge, retry_after_s
from telltale.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))
from lmm_questions import ask

GOOD = {
    "observations": ["a seam"], "counter_evidence": [], "verdict": "manipulated", "confidence": 0.9,
    "claims": [{"cue_id": "eyes.pasted", "region_id": "0.eye.0", "polarity": "artifact",
                "sentence": "a seam", "confidence": 0.9}],
}  # fmt: skip


def completion(text):
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


class Server:
    """Answers requests by a script, one entry each; the last entry stays."""

    def __init__(self):
        self.script, self.bodies, self.headers, self.at_s = [], [], [], []
        self.under_way = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=32 << 20)
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()

    async def _answer(self, request):
        self.at_s.append(time.monotonic())
        self.bodies.append(await request.json())
        self.headers.append(request.headers)
        entry = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            await asyncio.sleep(entry.get("slow_s", 0))
        finally:
            self.under_way -= 1
        if entry.get("hang_up"):
            request.transport.close()
        body = entry.get("body", completion(json.dumps(GOOD)))
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(
            text=text, status=entry.get("status", 200), headers=entry.get("headers", {})
        )

    def close(self):
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def judge(server, **options):
    given = {"timeout_s": 10.0, "attempts": 3, "backoff_s": (0.01, 0.02)} | options
    return EndpointJudge(server.url, "some-vlm", **given)


def one(server, **options):
    return judge(server, **options).judge([ask(crop_px=64)])[0]


def test_a_good_answer_becomes_a_judgment_and_names_model_and_endpoint(server):
    server.script = [{}]
    answer = one(server)
    assert (answer.status, answer.verdict) == ("ok", "manipulated")
    assert answer.claims[0].cue_id == "eyes.pasted"
    assert answer.judge == f"some-vlm@{server.url}"


def test_the_request_carries_schema_pictures_and_key(server):
    server.script = [{}]
    one(server, api_key="secret")
    body = server.bodies[0]
    schema = body["response_format"]["json_schema"]
    assert body["response_format"]["type"] == "json_schema"
    assert schema["strict"] is True
    jsonschema.validate(GOOD, schema["schema"])
    *pictures, text = body["messages"][0]["content"]
    assert len(pictures) == 3  # the whole, an eye, the mouth
    for part in pictures:
        head, _, data = part["image_url"]["url"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data)[:2] == b"\xff\xd8"
    assert "eyes.pasted | 0.eye.0" in text["text"]
    assert server.headers[0]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_that_recovers_is_waited_for(server, status):
    server.script = [{"status": status}, {"status": status}, {}]
    assert one(server).status == "ok"
    assert len(server.bodies) == 3


def test_retry_after_is_honoured(server):
    server.script = [{"status": 429, "headers": {"Retry-After": "1"}}, {}]
    assert one(server).status == "ok"
    assert server.at_s[1] - server.at_s[0] >= 1.0


def test_retry_after_beyond_a_minute_is_not_waited_for(server):
    server.script = [{"status": 429, "headers": {"Retry-After": "3600"}}]
    answer = one(server)
    assert (answer.status, answer.verdict) == ("unavailable", "inconclusive")
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_an_endpoint_that_does_not_recover_is_unavailable_with_its_words(server, status):
    server.script = [{"status": status, "body": "out of capacity"}]
    answer = one(server)
    assert (answer.status, answer.verdict) == ("unavailable", "inconclusive")
    assert str(status) in answer.reason
    assert "out of capacity" in answer.reason
    assert len(server.bodies) == 3


def test_a_refused_key_is_not_tried_again(server):
    server.script = [{"status": 401, "body": "bad key"}]
    answer = one(server)
    assert (answer.status, len(server.bodies)) == ("unavailable", 1)
    assert "401 bad key" in answer.reason


@pytest.mark.parametrize(
    "body",
    [
        "<html>gateway</html>",
        {"choices": []},
        {"choices": [{"message": {"content": None, "refusal": "I cannot look at people"}}]},
        completion("It looks fine to me."),
        completion(json.dumps(GOOD | {"verdict": "certainly fine"})),
        [],
    ],
)
def test_nonsense_is_asked_for_again_and_then_inconclusive(server, body):
    server.script = [{"body": body}]
    answer = one(server)
    assert (answer.status, answer.verdict) == ("unreadable", "inconclusive")
    assert answer.reason
    assert len(server.bodies) == 3


def test_a_readable_answer_after_nonsense_counts(server):
    server.script = [{"body": completion("hm")}, {}]
    assert one(server).status == "ok"


def test_a_slow_answer_is_late(server):
    server.script = [{"slow_s": 30}]
    answer = one(server, timeout_s=0.2, attempts=2)
    assert (answer.status, answer.verdict) == ("late", "inconclusive")
    assert "0.2 s" in answer.reason


def test_a_connection_cut_off_is_tried_again(server):
    server.script = [{"hang_up": True}, {}]
    assert one(server).status == "ok"


def test_no_server_at_all_is_unavailable_and_raises_nothing(server):
    nowhere = EndpointJudge("http://127.0.0.1:9/v1", "some-vlm", attempts=2, backoff_s=(0.01, 0.01))
    answer = nowhere.judge([ask(crop_px=64)])[0]
    assert (answer.status, answer.verdict) == ("unavailable", "inconclusive")
    assert "Connect" in answer.reason


def test_an_endpoint_that_answers_nobody_is_shown_and_logged_until_it_answers(server, caplog):
    server.script = [{"status": 503, "body": "no model"}]
    asked = judge(server, attempts=1)
    for _ in range(2):
        asked.judge([ask(crop_px=64)] * 2)
        assert "503 no model" in tally.away()["judge endpoint"]
    assert sum("judge is away" in r.message for r in caplog.records) == 1
    server.script = [{}]
    asked.judge([ask(crop_px=64)])
    assert "judge endpoint" not in tally.away()


def test_one_question_without_an_answer_among_others_is_no_outage(server):
    server.script = [{}, {"status": 500}]
    statuses = {a.status for a in judge(server, attempts=1).judge([ask(crop_px=64)] * 2)}
    assert statuses == {"ok", "unavailable"}
    assert "judge endpoint" not in tally.away()


def test_an_endpoint_whose_answers_cannot_be_read_does_answer(server):
    server.script = [{"body": completion("It looks fine to me.")}]
    assert one(server).status == "unreadable"
    assert "judge endpoint" not in tally.away()


def test_the_seconds_in_which_it_is_asked_are_counted(server):
    def seconds():
        return tally.read().get(("telltale_model_seconds_total", ("judge", "endpoint")), 0.0)

    server.script = [{"slow_s": 0.3}]
    before = seconds()
    one(server)
    assert seconds() - before >= 0.3


def test_questions_are_asked_side_by_side_up_to_the_limit_and_answered_in_order(server):
    server.script = [{"slow_s": 0.2}]
    answers = judge(server, concurrency=3).judge([ask(crop_px=64, seed=n) for n in range(6)])
    assert [a.status for a in answers] == ["ok"] * 6
    assert server.most_at_once == 3


def test_the_settings_choose_the_endpoint(server):
    server.script = [{}]
    settings = Settings(
        profile="standard", judge_endpoint=server.url, judge_model="m", judge_api_key="k"
    )
    chosen = load_judge(settings)
    assert chosen.judge([ask(crop_px=64)])[0].status == "ok"
    assert server.bodies[0]["model"] == "m"
    assert server.headers[0]["Authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (None, 0, 0), ("2.5", 2.5, 2.5), ("-3", 0, 0), ("soon", 0, 0),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0, 0), ("Fri, 01 Jan 2100 00:00:00 GMT", 1e9, 1e10),
    ],
)  # fmt: skip
def test_retry_after_reads_seconds_and_dates(value, low, high):
    assert low <= retry_after_s(value) <= high
