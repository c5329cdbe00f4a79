"""Why a broker that is there does not let us in.

In: ``Settings``. Out: ``UsageError`` naming the setting at fault, or None when no broker answers, which
time may mend. aiokafka itself says only that it could not connect.
"""

from __future__ import annotations

import asyncio
import ssl

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError

from telltale.delivery import kafka
from telltale.errors import UsageError
from telltale.settings import Settings

ASK_MS = 10_000


async def refusal(settings: Settings) -> UsageError | None:
    """Knock at each broker once more and keep what it says."""
    options = kafka.aiokafka_options(settings)
    for server in options.pop("bootstrap_servers").split(","):
        host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(host, int(port), request_timeout_ms=ASK_MS, **options)
            connection.close()
        except (OSError, KafkaError, TimeoutError) as error:
            if (fault := _fault(settings, error)) is not None:
                return UsageError(f"Kafka at {server}: {fault}")
    return None


def answering(settings: Settings) -> None:
    """For clients that say only that nobody answers. Raises ``UsageError`` where a broker refuses us."""
    if (refused := asyncio.run(refusal(settings))) is not None:
        raise refused


def _fault(settings: Settings, error: Exception) -> str | None:
    match error:
        case SaslAuthenticationFailed():
            return (
                f"user {settings.kafka_username!r} is refused; TELLTALE_KAFKA_USERNAME or"
                f" TELLTALE_KAFKA_PASSWORD is wrong ({error})"
            )
        case UnsupportedSaslMechanismError():
            return (
                f"TELLTALE_KAFKA_SASL_MECHANISM {settings.kafka_sasl_mechanism} is not offered"
                f" ({error})"
            )
        case ssl.SSLCertVerificationError():
            return (
                "its certificate is not trusted; TELLTALE_KAFKA_CA_FILE must name the authority"
                f" that signed it ({error.verify_message})"
            )
        case ssl.SSLError():
            return f"TLS fails; is TELLTALE_KAFKA_SECURITY what this port speaks? ({error.reason})"
    return None
