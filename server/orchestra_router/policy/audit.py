"""What the audit trail says of the configuration, so that a change of it is on record."""

from importlib.metadata import version

from orchestra_router.config import Config
from orchestra_router.store.audit_records import AuditEvent

CONFIGURATION = "configuration"
NOT_SHOWN = frozenset({"portkey", "alert_webhook", "guard_patterns"})
"""Settings that may hold a secret. Of the guard's own patterns the names are shown."""


def configured(config: Config, *, at_ms: int) -> AuditEvent:
    """The settings that are not the default, the catalog's version, and which provider has which keys by fingerprint."""
    settings = config.settings.model_dump(mode="json", exclude_defaults=True, exclude=set(NOT_SHOWN))
    if patterns := config.settings.guard_patterns:
        settings["guard_patterns"] = sorted(patterns)
    return AuditEvent(
        at_ms=at_ms,
        kind=CONFIGURATION,
        subject=CONFIGURATION,
        body={
            "program": version("orchestra-router"),
            "catalog": config.catalog.version,
            "settings": settings,
            "keys": {name: " ".join(config.keys.fingerprints(name)) for name in sorted(config.keys)},
        },
    )
