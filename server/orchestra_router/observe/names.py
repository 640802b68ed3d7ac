"""Names that telemetry has for what is ours."""

from collections.abc import Mapping

from orchestra_router.observe.records import StageName

OTHER = "_other"
"""Stands for a model that the catalog does not know: a caller may name any, and each would be a series of its own."""
PROVIDERS: Mapping[str, str] = {"gemini": "gcp.gemini", "xai": "x_ai"}
"""Where OpenTelemetry's well-known name of a provider is another than ours."""
STAGES: Mapping[StageName, str] = {
    "guard": "guard prompt",
    "task": "recognise task",
    "cache": "look in cache",
    "plan": "plan route",
    "check": "check answer",
    "keep": "keep answer",
}
"""The span of each stage; that of the attempts is made of theirs."""
