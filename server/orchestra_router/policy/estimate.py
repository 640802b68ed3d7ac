"""How many tokens a request may have: the likely number for choosing, the largest possible for paying."""

import json
import math
from dataclasses import dataclass

from orchestra_router.types import CompletionRequest, Image, Text, ToolCall

BYTES_PER_TOKEN = 4
"""Of English prose and code, roughly, in every tokenizer of today."""
MESSAGE_OVERHEAD = 16
TOOLS_OVERHEAD = 1_000
"""Vendors put a system prompt of their own before tools: some hundreds of tokens."""
LIKELY_IMAGE_TOKENS = 1_500
MOST_IMAGE_TOKENS = 8_000
SEARCH_TOKENS = 60_000
"""Search results are billed as input: at most about this much for one answer."""
MOST_SEARCHES = 10
LIKELY_OUTPUT_TOKENS = 600


@dataclass(frozen=True, slots=True)
class Size:
    """Tokens of one request: the likely numbers, and bounds that no tokenizer passes."""

    likely_input: int
    most_input: int
    likely_output: int
    most_searches: int


def measure(request: CompletionRequest) -> Size:
    """The size of `request`. Reads every byte of it, so ask once.

    Byte-level vocabularies never need more than one token for a byte, which makes the bound.
    """
    size, images = prompt_bytes(request), _images(request)
    most = size + MESSAGE_OVERHEAD * len(request.messages) + MOST_IMAGE_TOKENS * images
    if request.tools:
        most += TOOLS_OVERHEAD
    if request.web_search:
        most += SEARCH_TOKENS
    return Size(
        likely_input=math.ceil(size / BYTES_PER_TOKEN) + LIKELY_IMAGE_TOKENS * images,
        most_input=most,
        likely_output=min(request.max_tokens, LIKELY_OUTPUT_TOKENS),
        most_searches=MOST_SEARCHES if request.web_search else 0,
    )


def prompt_bytes(request: CompletionRequest) -> int:
    """UTF-8 bytes of everything a model reads, images apart."""
    total = 0
    for message in request.messages:
        total += len(message.provider_state.encode())
        for part in message.parts:
            if isinstance(part, Text):
                total += len(part.text.encode())
            elif isinstance(part, ToolCall):
                total += len(part.name.encode()) + len(part.arguments.encode())
            elif not isinstance(part, Image):
                total += len(part.name.encode()) + len(part.content.encode())
    for tool in request.tools:
        total += len(tool.name.encode()) + len(tool.description.encode()) + len(json.dumps(dict(tool.parameters)))
    if request.response_schema is not None:
        total += len(json.dumps(dict(request.response_schema)))
    return total


def _images(request: CompletionRequest) -> int:
    return sum(isinstance(part, Image) for message in request.messages for part in message.parts)
