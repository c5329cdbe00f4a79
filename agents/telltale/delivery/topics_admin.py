"""Topics on the cluster: made, listed, and looked for at the start of a worker.

In: ``Settings``. Out: what was made and what is there. Raises ``DependencyAway`` when no broker
answers, ``UsageError`` naming the topics that are missing, or the setting for which a broker refuses us.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from telltale.delivery import kafka
from telltale.delivery.deadletter import HEADROOM_BYTES
from telltale.delivery.refusals import refusal
from telltale.errors import DependencyAway, UsageError
from telltale.settings import Settings
from telltale.topics import DEAD_TOPICS, TOPICS, Topic

MESSAGE_BYTES = 1_048_588  # the broker's default max.message.bytes
COORDINATOR_TRIES = 10
LEADER_TRIES = 100


@dataclass(frozen=True)
class TopicState:
    """A topic as it is on the cluster; ``lag`` counts the events a stage has yet to finish."""

    name: str
    partitions: int
    retention_ms: int | None
    cleanup: str | None
    events: int
    lag: dict[str, int] = field(default_factory=dict)

    def public(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client. Raises ``DependencyAway`` when no broker answers, ``UsageError`` when
    one refuses us."""
    client = AIOKafkaAdminClient(**kafka.aiokafka_options(settings), request_timeout_ms=20_000)
    try:
        await client.start()
        yield client
    except KafkaError as error:
        if (refused := await refusal(settings)) is not None:
            raise refused from error
        raise DependencyAway(f"Kafka at {kafka.bootstrap(settings)}", str(error)) from error
    finally:
        await client.close()


async def create_topics(
    settings: Settings, topics: Sequence[Topic] = TOPICS + DEAD_TOPICS
) -> list[str]:
    """Make the topics that are missing; the names made. An existing topic is left as it is."""
    async with admin(settings) as client:
        there = set(await client.list_topics())
        new = [_new(settings, t) for t in topics if kafka.topic_name(settings, t.name) not in there]
        if not new:
            return []
        response = await client.create_topics(new)
        for name, code, *_ in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"cannot make topic {name}")
        made = [topic.name for topic in new]
        await _until_led(client, made)
        return made


async def _until_led(client: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait until every partition of new topics has a leader; at once, as a rule."""
    for _ in range(LEADER_TRIES):
        described = await client.describe_topics(names)
        led = [p["leader"] >= 0 for topic in described for p in topic["partitions"]]
        if len(described) == len(names) and led and all(led):
            return
        await asyncio.sleep(0.1)


def _new(settings: Settings, topic: Topic) -> NewTopic:
    dead = topic.name.endswith(".dead")
    limit = MESSAGE_BYTES + (HEADROOM_BYTES if dead else 0)
    return NewTopic(
        kafka.topic_name(settings, topic.name),
        # few die, and they are read by people: one partition keeps them in order
        1 if dead else settings.kafka_partitions,
        settings.kafka_replication,
        topic_configs={
            "retention.ms": str(topic.retention_ms),
            "cleanup.policy": topic.cleanup,
            "max.message.bytes": str(limit),
            # a broker refuses what a client with a fast clock dates an hour ahead, and soon deletes
            # what one with a slow clock dates back: its own clock counts
            "message.timestamp.type": "LogAppendTime",
        },
    )


async def require_topics(settings: Settings, names: Sequence[str]) -> None:
    """Check that the topics and their dead letters exist. Raises ``UsageError`` naming the rest."""
    wanted = {kafka.topic_name(settings, n) for name in names for n in (name, f"{name}.dead")}
    async with admin(settings) as client:
        missing = sorted(wanted - set(await client.list_topics()))
    if missing:
        raise UsageError(
            f"topics are missing: {', '.join(missing)}; make them with 'telltale topics create'"
        )


async def list_topics(
    settings: Settings, readers: Mapping[str, Sequence[str]] | None = None
) -> list[TopicState]:
    """Our topics as they are. ``readers`` maps a topic to the stages whose lag is wanted."""
    async with admin(settings) as client:
        there = set(await client.list_topics())
        names = [
            name
            for topic in TOPICS + DEAD_TOPICS
            if (name := kafka.topic_name(settings, topic.name)) in there
        ]
        if not names:
            return []
        configs = await _configs(client, names)
        ends = await _ends(settings, client, names)
        states = []
        for name in names:
            plain = kafka.plain_name(settings, name)
            lag = {
                stage: await _lag(settings, client, stage, name, ends[name])
                for stage in (readers or {}).get(plain, ())
            }
            config = configs.get(name, {})
            retention = config.get("retention.ms")
            states.append(
                TopicState(
                    plain,
                    len(ends[name]),
                    int(retention) if retention else None,
                    config.get("cleanup.policy"),
                    sum(end - start for start, end in ends[name].values()),
                    lag,
                )
            )
        return states


async def _configs(client: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await client.describe_configs(resources):
        for _, _, _, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def _ends(
    settings: Settings, client: AIOKafkaAdminClient, names: list[str]
) -> dict[str, dict[int, tuple[int, int]]]:
    """By topic and partition: first and next offset."""
    described = await client.describe_topics(names)
    partitions = [
        TopicPartition(topic["topic"], p["partition"])
        for topic in described
        for p in topic["partitions"]
    ]
    consumer = AIOKafkaConsumer(**kafka.aiokafka_options(settings))
    await consumer.start()
    try:
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    found: dict[str, dict[int, tuple[int, int]]] = {name: {} for name in names}
    for tp in partitions:
        found[tp.topic][tp.partition] = (starts[tp], ends[tp])
    return found


async def _lag(
    settings: Settings,
    client: AIOKafkaAdminClient,
    stage: str,
    topic: str,
    ends: dict[int, tuple[int, int]],
) -> int:
    group = kafka.group_name(settings, stage)
    partitions = [TopicPartition(topic, partition) for partition in ends]
    committed = await _committed(client, group, partitions)
    lag = 0
    for tp in partitions:
        start, end = ends[tp.partition]
        at = committed[tp].offset if tp in committed else -1
        lag += max(0, end - max(at, start))
    return lag


async def _committed(
    client: AIOKafkaAdminClient, group: str, partitions: list[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    for _ in range(COORDINATOR_TRIES):
        try:
            found: dict[
                TopicPartition, OffsetAndMetadata
            ] = await client.list_consumer_group_offsets(group, partitions=partitions)
            return found
        except GroupCoordinatorNotAvailableError:
            await asyncio.sleep(0.5)  # a cluster's first group: Kafka makes the topic it is kept in
    return {}
