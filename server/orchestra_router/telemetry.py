"""Telemetry as the configuration wants it."""

from typing import TYPE_CHECKING

from orchestra_router.config import TELEMETRY, Config
from orchestra_router.observe import Observers
from orchestra_router.policy.redactor import redactor
from orchestra_router.telemetry_settings import headers_of

if TYPE_CHECKING:
    from orchestra_router.observe.tracing import Telemetry


def sending(config: Config, observers: Observers) -> "Telemetry":
    """What sends each request that `observers` hear of to the collector in the settings, until it is closed."""
    from orchestra_router.observe.tracing import Telemetry  # noqa: PLC0415 - most send nothing, and it is slow to load

    telemetry = Telemetry(
        config.settings,
        headers_of(config.keys.get(TELEMETRY)),
        scrub=redactor(config),
        addresses={provider.name: provider.base_url for provider in config.catalog.providers.values()},
        models=frozenset(config.catalog.models),
    )
    observers.requests.append(telemetry.request)
    return telemetry
