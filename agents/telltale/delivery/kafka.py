"""How Kafka is reached and how topics and groups are named on it.

In: ``Settings``. Out: names with the prefix, and the security options in the words of the three
clients used (Faust, aiokafka, confluent). Raises ``UsageError`` when no broker is named, a user or
password is missing, or a file for TLS cannot be read.
"""

from __future__ import annotations

import ssl
from typing import Any

import faust

from telltale.errors import UsageError
from telltale.settings import Settings

GROUP = "telltale-"


def topic_name(settings: Settings, name: str) -> str:
    """The topic's name on the cluster."""
    return settings.topic_prefix + name


def plain_name(settings: Settings, name: str) -> str:
    """A name on the cluster without the prefix: what ``telltale.topics`` calls it."""
    return name.removeprefix(settings.topic_prefix)


def group_name(settings: Settings, stage: str) -> str:
    """The consumer group, which is the Faust app id, of a stage."""
    return f"{settings.topic_prefix}{GROUP}{stage}"


def bootstrap(settings: Settings) -> str:
    """host:port[,host:port]. Raises ``UsageError`` when none is set."""
    if settings.kafka_bootstrap is None:
        raise UsageError(
            "no Kafka is named; set TELLTALE_KAFKA_BOOTSTRAP or start the embedded one"
            " with 'telltale up'"
        )
    return settings.kafka_bootstrap


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS with the settings' authorities and client certificate; None for plain connections."""
    if "SSL" not in settings.kafka_security.split("_"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_cert_file:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"TELLTALE_KAFKA_CA_FILE, _CERT_FILE or _KEY_FILE cannot be used: {error}"
        ) from error
    return context


def faust_credentials(settings: Settings) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """The settings' security as Faust has it; None for PLAINTEXT."""
    context = ssl_context(settings)
    if settings.kafka_security.startswith("SASL"):
        return faust.SASLCredentials(
            username=_user(settings),
            password=_password(settings),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that aiokafka's clients need to connect."""
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap(settings),
        "security_protocol": settings.kafka_security,
        "ssl_context": ssl_context(settings),
    }
    if settings.kafka_security.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": _user(settings),
            "sasl_plain_password": _password(settings),
        }
    return options


def confluent_options(settings: Settings) -> dict[str, Any]:
    """The configuration that confluent-kafka's clients need to connect."""
    options: dict[str, Any] = {
        "bootstrap.servers": bootstrap(settings),
        "security.protocol": settings.kafka_security,
    }
    files = {
        "ssl.ca.location": settings.kafka_ca_file,
        "ssl.certificate.location": settings.kafka_cert_file,
        "ssl.key.location": settings.kafka_key_file,
    }
    if "SSL" in settings.kafka_security.split("_"):
        options |= {name: str(path) for name, path in files.items() if path}
    if settings.kafka_security.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": _user(settings),
            "sasl.password": _password(settings),
        }
    return options


def _user(settings: Settings) -> str:
    return _given(settings, "TELLTALE_KAFKA_USERNAME", settings.kafka_username)


def _password(settings: Settings) -> str:
    secret = settings.kafka_password
    return _given(
        settings, "TELLTALE_KAFKA_PASSWORD", secret.get_secret_value() if secret else None
    )


def _given(settings: Settings, variable: str, value: str | None) -> str:
    if not value:
        raise UsageError(
            f"{variable} must be set: TELLTALE_KAFKA_SECURITY is {settings.kafka_security}"
        )
    return value
