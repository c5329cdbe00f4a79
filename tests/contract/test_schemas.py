"""What is published is what is sent, is valid by others' rules, and stays readable."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from telltale.contracts import breaks, files
from telltale.events import EVENTS, ImageUploaded

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
FROZEN = SCHEMAS / "frozen" / "v1.0"


def ours(topic: str) -> bool:
    return topic != ImageUploaded.topic


@pytest.mark.parametrize("name", sorted(files()))
def test_the_committed_file_is_the_generated_one(name: str) -> None:
    assert (SCHEMAS / name).read_text() == files()[name], "run 'telltale schemas'"


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.__name__)
def test_every_schema_is_valid_json_schema(event) -> None:
    Draft202012Validator.check_schema(json.loads((SCHEMAS / f"{event.topic}.v1.json").read_text()))


def test_the_asyncapi_document_is_valid_by_its_own_standard() -> None:
    official = json.loads(
        gzip.decompress((Path(__file__).parent / "asyncapi-3.0.0.json.gz").read_bytes())
    )
    document = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())
    faults = [e.message[:200] for e in Draft7Validator(official).iter_errors(document)]
    assert faults == []
    broken = {**document, "channels": {"x": {"adress": "y"}}}
    assert list(Draft7Validator(official).iter_errors(broken))


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.__name__)
def test_consumers_of_the_first_version_can_read_this_one(event) -> None:
    old = json.loads((FROZEN / f"{event.topic}.v1.json").read_text())
    new = json.loads((SCHEMAS / f"{event.topic}.v1.json").read_text())
    assert breaks(old, new, ours(event.topic)) == []


def changed(topic: str, change) -> list[str]:
    old = json.loads((SCHEMAS / f"{topic}.v1.json").read_text())
    new = copy.deepcopy(old)
    change(new)
    return breaks(old, new, ours(topic))


def remove(s):
    del s["$defs"]["Verdict"]["properties"]["probability"]


def retype(s):
    s["$defs"]["Image"]["properties"]["width_px"]["type"] = "string"


def optional(s):
    s["$defs"]["Verdict"]["required"].remove("action")


def widen(s):
    s["$defs"]["Claim"]["properties"]["status"]["enum"].append("perhaps")


def another_alternative(s):
    s["properties"]["image"]["anyOf"].append({"type": "string"})


def raise_limit(s):
    s["$defs"]["Verdict"]["properties"]["probability"]["anyOf"][0]["maximum"] = 100.0


def lengthen(s):
    box = s["$defs"]["Region"]["properties"]["box_px"]
    box["maxItems"] = 5


def retype_an_item(s):
    s["$defs"]["Region"]["properties"]["box_px"]["prefixItems"][2]["type"] = "string"


def loosen(s):
    del s["$defs"]["Image"]["properties"]["sha256"]["pattern"]


@pytest.mark.parametrize(
    "change",
    [
        remove,
        retype,
        optional,
        widen,
        another_alternative,
        raise_limit,
        lengthen,
        retype_an_item,
        loosen,
    ],
)
def test_a_change_that_old_consumers_could_not_read_is_refused(change) -> None:
    assert changed("verdicts.issued", change)


def require(s):
    s["required"].append("context")


def shorten(s):
    s["properties"]["uri"]["maxLength"] = 10


def forget(s):
    del s["properties"]["uri"]


def demand(s):
    s["properties"]["image_id"]["minLength"] = 8


@pytest.mark.parametrize("change", [require, shorten, forget, demand])
def test_a_change_that_old_producers_could_not_meet_is_refused(change) -> None:
    assert changed("images.uploaded", change)


def add(s):
    s["properties"]["colour"] = {"type": "string"}


def tighten(s):
    s["$defs"]["Verdict"]["properties"]["probability"]["anyOf"][0]["maximum"] = 0.9


def test_saying_less_than_before_is_no_break() -> None:
    assert changed("verdicts.issued", tighten) == []


@pytest.mark.parametrize("topic", ["verdicts.issued", "images.uploaded"])
def test_a_new_field_is_no_break(topic: str) -> None:
    assert changed(topic, add) == []
