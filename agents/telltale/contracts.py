"""The published contracts: a JSON Schema an event, and an AsyncAPI 3 document about the topics.

In: the event classes. Out: files for ``schemas/``, the same for the same classes; and, for two
versions of a schema, what an old consumer or producer could no longer read. Nothing fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic.json_schema import models_json_schema

from telltale import topics
from telltale.events import EVENTS, Event

DIALECT = "https://json-schema.org/draft/2020-12/schema"
HEADERS: dict[str, tuple[str, bool]] = {
    "ce_specversion": ("CloudEvents version, '1.0'", True),
    "ce_id": ("event id, a UUID; a repeat of an event carries the id of its original", True),
    "ce_type": ("CloudEvents type, e.g. telltale.verdict.issued.v1", True),
    "ce_source": ("who produced it", True),
    "ce_subject": ("image_id", True),
    "ce_time": ("when it was produced, RFC 3339", True),
    "content-type": ("application/json", True),
    "traceparent": ("W3C trace context, carried from the upload through every stage", False),
    "tracestate": ("W3C trace state", False),
}
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
SENTENCES = {
    "images.uploaded": "A platform asks for a verdict on an image. The one topic that others write to.",
    "images.admitted": "The bytes were fetched, checked, hashed and stored.",
    "regions.detected": "Faces, parts and objects were found; their embeddings are in the cache.",
    "cues.retrieved": "Cues and counter-cues to ask about were found, with their evidence.",
    "judgments.made": "The multimodal model has answered, or could not.",
    "verdicts.issued": "The answer to an upload: a verdict with checked claims, or a rejection with its code.",
    "explanations.ready": "Saliency maps for the claims of a verdict are drawn.",
}


def json_schema(event: type[Event]) -> dict[str, Any]:
    """The JSON Schema of an event's value. Unknown fields are allowed: readers must ignore them."""
    schema = event.model_json_schema(mode=_mode(event))
    return {
        "$schema": DIALECT,
        "$id": f"{event.topic}.v1.json",
        "title": event.__name__,
        **{k: v for k, v in schema.items() if k != "title"},
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of all topics."""
    _, shared = models_json_schema(
        [(e, _mode(e)) for e in EVENTS], ref_template="#/components/schemas/{model}"
    )
    channels, operations, messages = {}, {}, {}
    for event in EVENTS:
        name, topic = event.__name__, _topic(event.topic)
        channels[event.topic] = {
            "address": event.topic,
            "description": SENTENCES[event.topic],
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "bindings": {
                "kafka": {
                    "topic": event.topic,
                    "topicConfiguration": {
                        "cleanup.policy": [topic.cleanup],
                        "retention.ms": topic.retention_ms,
                    },
                    "bindingVersion": "0.5.0",
                }
            },
        }
        # as seen from Telltale: it receives uploads and sends the rest
        action = "receive" if event.topic == topics.UPLOADED.name else "send"
        operations[f"{action}{name}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{event.topic}"},
            "messages": [{"$ref": f"#/channels/{event.topic}/messages/{name}"}],
        }
        messages[name] = {
            "name": event.type_name,
            "title": name,
            "contentType": "application/json",
            "headers": _headers(event),
            "payload": {"$ref": f"#/components/schemas/{name}"},
            "bindings": {
                "kafka": {
                    "key": {"type": "string", "description": "image_id"},
                    "bindingVersion": "0.5.0",
                }
            },
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Telltale events",
            "version": "1.0.0",
            "description": (
                "Values are JSON; attributes are CloudEvents 1.0 in Kafka's binary content mode. "
                "Delivery is at least once: a consumer that remembers ce_id sees every event once."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": shared["$defs"]},
    }


def files() -> dict[str, str]:
    """Every published file by name."""
    found = {
        f"{e.topic}.v1.json": json.dumps(json_schema(e), indent=2, ensure_ascii=False) + "\n"
        for e in EVENTS
    }
    found["asyncapi.yaml"] = yaml.safe_dump(
        asyncapi(), sort_keys=False, allow_unicode=True, width=100
    )
    return found


def write(folder: Path) -> list[str]:
    """Write the files that differ; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in files().items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changed.append(name)
    return changed


def breaks(old: Mapping[str, Any], new: Mapping[str, Any], produced_by_us: bool) -> list[str]:
    """What stops a program written for ``old`` from working with ``new``, one line each.

    Of events that we produce, old consumers must find every field they knew, with values they knew:
    no field removed or retyped, none made optional, no enumeration widened. Of events that others
    produce, everything they may send must still be read: nothing newly required, no type or
    enumeration narrowed, no new limit.
    """
    return list(_differences(old, new, old, new, "", produced_by_us))


def _mode(event: type[Event]) -> Literal["validation", "serialization"]:
    """Of uploads, what may be sent to us; of the rest, what we send."""
    return "validation" if event.topic == topics.UPLOADED.name else "serialization"


def _headers(event: type[Event]) -> dict[str, Any]:
    fixed = {
        "ce_specversion": "1.0",
        "ce_type": event.type_name,
        "content-type": "application/json",
    }
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text}
            | ({"const": fixed[name]} if name in fixed else {})
            for name, (text, _) in HEADERS.items()
        },
        "required": [n for n, (_, needed) in HEADERS.items() if needed],
    }


def _topic(name: str) -> topics.Topic:
    return next(t for t in topics.TOPICS if t.name == name)


def _differences(
    old: Any,
    new: Any,
    old_root: Mapping[str, Any],
    new_root: Mapping[str, Any],
    path: str,
    ours: bool,
) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    where = path or "value"
    if old.get("type") != new.get("type"):
        yield f"{where}: type was {old.get('type')}, is {new.get('type')}"
        return
    yield from _value_differences(old, new, where, ours)
    for name, part in old.get("properties", {}).items():
        inner = f"{path}.{name}".lstrip(".")
        if name not in new.get("properties", {}):
            yield f"{inner}: removed"
            continue
        yield from _differences(part, new["properties"][name], old_root, new_root, inner, ours)
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    lost = before - after if ours else after - before
    for name in sorted(lost & (set(old.get("properties", {})) if ours else lost)):
        yield f"{path}.{name}".lstrip(".") + (
            ": no longer always there" if ours else ": newly required"
        )
    for key in ("items", "additionalProperties"):
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            yield from _differences(old[key], new[key], old_root, new_root, f"{path}[]", ours)
    before, after = old.get("prefixItems", ()), new.get("prefixItems", ())
    for n, (a, b) in enumerate(zip(before, after, strict=False)):
        yield from _differences(a, b, old_root, new_root, f"{path}[{n}]", ours)
    yield from _choices(old, new, old_root, new_root, path, ours)


def _value_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], where: str, ours: bool
) -> Iterator[str]:
    before, after = _values(old), _values(new)
    if before is not None or after is not None:
        # a value that an old consumer does not know, or one that an old producer may no longer send
        gone = (
            (after or set()) - (before or set()) if ours else (before or set()) - (after or set())
        )
        for value in sorted(map(str, gone)):
            yield f"{where}: value {value!r} is " + (
                "new to old consumers" if ours else "no longer read"
            )
    for limit in ("pattern", "format", *UPPER, *LOWER):
        was, now = old.get(limit), new.get(limit)
        # what we send must fit the old limits, what others send must fit the new ones
        if not (_within(limit, now, was) if ours else _within(limit, was, now)):
            yield f"{where}: {limit} was {was!r}, is {now!r}"


def _within(limit: str, value: Any, allowed: Any) -> bool:
    """Whether all that meets the limit ``value`` meets the limit ``allowed``; None is no limit."""
    if allowed is None or value == allowed:
        return True
    if value is None or limit in ("pattern", "format"):
        return False
    return bool(value <= allowed if limit in UPPER else value >= allowed)


def _choices(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    old_root: Mapping[str, Any],
    new_root: Mapping[str, Any],
    path: str,
    ours: bool,
) -> Iterator[str]:
    before, after = old.get("anyOf", ()), new.get("anyOf", ())
    if len(before) != len(after):
        yield f"{path or 'value'}: {len(before)} alternatives were possible, are {len(after)}"
        return
    for a, b in zip(before, after, strict=True):
        yield from _differences(a, b, old_root, new_root, path, ours)


def _values(schema: Mapping[str, Any]) -> set[Any] | None:
    if "const" in schema:
        return {schema["const"]}
    return set(schema["enum"]) if "enum" in schema else None


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    while "$ref" in found:
        target: Any = root
        for part in found["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        found = {**target, **{k: v for k, v in found.items() if k != "$ref"}}
    return found
