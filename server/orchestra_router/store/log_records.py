"""What the request log keeps."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What was asked and answered, as the provider saw it and with everything personal taken out; JSON."""

    asked: str | None
    """None: it is not to be kept."""
    answered: str | None
    most_bytes: int
    """All that is kept may take so much; the oldest goes first."""
