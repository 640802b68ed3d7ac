"""Portkey in front of any provider: the provider's own format with Portkey's headers, less what gets lost on the way.

Three ways lead through it. With "@slug" (Model Catalog) or a virtual key Portkey holds the provider's key, and ours is
Portkey's; under Portkey's own name for a provider the key is this machine's. The open-source gateway knows only the
last of the three.

Facts: portkey.ai/docs (headers, error codes, model catalog, metadata), and what the open-source gateway 1.15.2 was seen
to do with each provider; checked 2026-11. The hosted one's changelog says that it loses less. That was not seen, so the
same is expected of it: a request refused goes elsewhere, and one silently changed is lost.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import InvalidAnswer, PermissionRefused, ProviderError, ServerFailed
from orchestra_router.providers.base import Adapter, StreamReader
from orchestra_router.providers.failures import classify
from orchestra_router.providers.wire import JsonObject, as_object, as_objects, as_text, encode, parse_object
from orchestra_router.types import Answer, CompletionRequest, ListedModel, StreamEvent, WireRequest, WireResponse

KEY_ENV = "PORTKEY_API_KEY"
MAX_METADATA_CHARS = 128
"""Of a value; Portkey refuses longer ones. [portkey.ai/docs/product/observability/metadata]"""
GUARDRAIL_NOTE = "One of your Portkey guardrails failed this request and let it pass."
PERPLEXITY_HOST = "https://api.perplexity.ai/v1"
"""Without it the gateway would leave out the version and call a path that is not there."""

_NAMES = (
    "302ai ai21 aibadgr anthropic anyscale bytez cerebras cohere cometapi dashscope deepbricks deepinfra deepseek "
    "featherless-ai fireworks-ai github google groq huggingface hyperbolic inference-net iointelligence jina "
    "kluster-ai krutrim lambda lemonfox-ai lepton lingyi matterai mistral-ai modal monsterapi moonshot ncompass "
    "nebius nextbit nomic novita-ai nscale ollama openai openrouter ovhcloud perplexity-ai predibase reka-ai "
    "replicate sambanova segmind siliconflow together-ai triton upstage voyage x-ai z-ai zhipu"
)
PROVIDERS = frozenset(_NAMES.split())
"""Portkey's own names for those that take one key and nothing else."""

_OWN_NAMES = {"gemini": "google", "perplexity": "perplexity-ai", "together": "together-ai", "xai": "x-ai"}
"""Where Portkey's name is not ours."""

_LOSSES: Mapping[str, Mapping[str, object]] = {
    # `output_config` is dropped, and with it both.
    "anthropic": {"lacks": ("effort",), "schema_style": "none"},
    # A comment in its stream, which it sends while one waits, ends the gateway's stream.
    "deepseek": {"lacks": ("tools",), "streams": False},
    # Tool results lose their name and calls their signature; in a stream, a call after text is lost.
    "google": {"lacks": ("tools",), "search_style": "none", "models_path": ""},
    "ollama": {"streams": False, "models_path": ""},
    "openrouter": {"lacks": ("stop",), "models_path": ""},
    # Its streams lose tool calls and usage.
    "together-ai": {"streams": False, "models_path": ""},
    "x-ai": {"responses": False, "search_style": "none"},
}
"""By Portkey's name of the provider. Four lists of models are asked for under the wrong path, so they are not asked for."""
_EFFORTS: Mapping[str, tuple[str, ...]] = {
    "deepseek": (),
    "google": (),  # "none" would be dropped, and the model would think
    "ollama": (),
    "openai": ("reasoning_effort",),
    "openrouter": ("reasoning", "reasoning_effort"),
    "together-ai": (),
    "x-ai": ("reasoning_effort",),
}
"""The styles of effort that get through."""
_UNREAD = re.compile(r"Invalid response received from [a-z0-9-]+: (?P<body>\{.*\})", re.DOTALL)
_PROVIDER_KEYS = ("authorization", "x-api-key", "x-goog-api-key")


# --- The row -----------------------------------------------------------------------------------------------


def through(provider: Provider, *, base_url: str) -> Provider:
    """The row of `provider`, whose `portkey` is set, as seen through Portkey at `base_url` (".../v1").

    What the gateway is known to lose is said by the row, so that a request which needs it is refused or gets a note.
    """
    # Whoever writes our name of a provider means Portkey's.
    provider = provider.model_copy(update={"portkey": _OWN_NAMES.get(provider.portkey, provider.portkey)})
    name = _translator(provider)
    changed: dict[str, object] = {
        "base_url": base_url,
        "path": "",
        "probe_path": "",
        "models_path": "/models",
        # Its translation leaves cached tokens out of the counts.
        "marks_cache": False,
        "takes_cache_key": False,
        **_LOSSES.get(name, {}),
    }
    if provider.effort_style not in _EFFORTS.get(name, (provider.effort_style,)):
        changed["effort_style"] = "none"
    if holds_key(provider):
        # The hosted gateway, which alone holds keys, lists all providers' models under one path.
        changed |= {"key_env": (KEY_ENV,), "models_path": "/models"}
    if provider.format == "messages":
        changed["path"] = "/messages"
    elif provider.format == "gemini":
        changed["format"] = "chat"
    elif name == "perplexity-ai" and not holds_key(provider):
        changed |= {"path": "/agent", "portkey_host": provider.portkey_host or PERPLEXITY_HOST}
    return provider.model_copy(update=changed)


def holds_key(provider: Provider) -> bool:
    """Whether Portkey holds the provider's key, so that no key but Portkey's is needed here."""
    return provider.portkey not in PROVIDERS


def _translator(provider: Provider) -> str:
    """Portkey's name of the provider, which decides how it translates."""
    return _OWN_NAMES.get(provider.name, provider.name) if holds_key(provider) else provider.portkey


# --- The request -------------------------------------------------------------------------------------------


def wrap(wire: WireRequest, provider: Provider, request: CompletionRequest, *, portkey_key: str) -> WireRequest:
    """`wire`, built for a row that `through` made, as Portkey takes it. `portkey_key` is "" where it needs none.

    Portkey's own cache and retries are kept out: both would happen a second time behind those of this router.
    """
    headers = _headers(wire, provider, portkey_key=portkey_key) | {
        "x-portkey-cache-force-refresh": "true",
        "x-portkey-retry-count": "0",
        # Otherwise reasoning and citations are cut off, and reasons that it does not know become a plain "stop".
        "x-portkey-strict-open-ai-compliance": "false",
    }
    if request.trace_id:
        headers["x-portkey-trace-id"] = quote(request.trace_id, safe="!#$&'()*+,/:;=?@[]")
    user = {"_user": request.scope.user} if request.scope.user else {}
    if metadata := {**request.metadata, **user}:
        headers["x-portkey-metadata"] = json.dumps(
            {key: value[:MAX_METADATA_CHARS] for key, value in metadata.items()}, separators=(",", ":")
        )
    notes = wire.notes
    if request.web_search and _translator(provider) == "openrouter":
        notes = (*notes, "citations may be missing: Portkey leaves them out of OpenRouter's plain answers")
    return replace(wire, headers=headers, body=_body(wire, provider), notes=notes)


def wrap_list(wire: WireRequest, provider: Provider, *, portkey_key: str) -> WireRequest:
    """A GET of the provider's list of models, as Portkey takes it."""
    headers = _headers(wire, provider, portkey_key=portkey_key)
    if provider.portkey.startswith("@"):
        headers["x-portkey-provider"] = provider.portkey
    return replace(wire, headers=headers)


def _headers(wire: WireRequest, provider: Provider, *, portkey_key: str) -> dict[str, str]:
    headers = {name: value for name, value in wire.headers.items() if name not in _PROVIDER_KEYS}
    if portkey_key:
        headers["x-portkey-api-key"] = portkey_key
    if provider.portkey in PROVIDERS:
        headers["x-portkey-provider"] = provider.portkey
        # Whichever header the provider wants its key in: Portkey puts it there.
        if key := next((wire.headers[name] for name in _PROVIDER_KEYS if name in wire.headers), ""):
            headers["authorization"] = key if key.startswith("Bearer ") else f"Bearer {key}"
    elif not provider.portkey.startswith("@"):
        headers["x-portkey-virtual-key"] = provider.portkey
    if provider.portkey_host:
        headers["x-portkey-custom-host"] = provider.portkey_host
    # The provider gets none but these; and what is addressed to Portkey (its `x-portkey-config`) stays there.
    if forwarded := [name for name in provider.headers if not name.lower().startswith("x-portkey-")]:
        headers["x-portkey-forward-headers"] = ",".join(forwarded)
    return headers


def _body(wire: WireRequest, provider: Provider) -> bytes | None:
    if wire.body is None or not provider.portkey.startswith("@"):
        return wire.body
    body = parse_object(wire.body)
    return encode({**body, "model": f"{provider.portkey}/{as_text(body.get('model'))}"})


# --- The answer --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThroughPortkey:
    """A format's adapter, through Portkey. `portkey_key` is "" where the key of the row is Portkey's already."""

    inner: Adapter
    portkey_key: str

    def build_request(
        self, deployment: Deployment, request: CompletionRequest, *, api_key: str, stream: bool = False
    ) -> WireRequest:
        provider = deployment.provider
        wire = self.inner.build_request(deployment, request, api_key=api_key, stream=stream and provider.streams)
        return wrap(wire, provider, request, portkey_key=self._key(provider, api_key))

    def parse_response(self, body: bytes) -> Answer:
        body = _unwrapped(body)
        answer = self.inner.parse_response(body)
        return _checked(answer, guardrail_failed=b'"hook_results"' in body and _guardrail_failed(parse_object(body)))

    def parse_error(self, response: WireResponse, *, now_ms: int) -> ProviderError:
        """See `Adapter`. A status that only Portkey sends decides, whatever codes the body repeats from elsewhere."""
        if response.status in {412, 446}:
            return classify(response.status, headers=response.headers, now_ms=now_ms)
        if response.status == 400 and _refused_the_route(response.body):
            # Other deployments are not called this way, so they are worth asking.
            return PermissionRefused(status=400, provider_code="portkey_route")
        return self.inner.parse_error(replace(response, body=_unwrapped(response.body)), now_ms=now_ms)

    def stream_reader(self) -> StreamReader:
        return _Reader(self.inner.stream_reader())

    def build_list_request(self, provider: Provider, *, api_key: str) -> WireRequest:
        wire = self.inner.build_list_request(provider, api_key=api_key)
        return wrap_list(wire, provider, portkey_key=self._key(provider, api_key))

    def parse_list(self, body: bytes) -> tuple[ListedModel, ...]:
        return self.inner.parse_list(body)

    def _key(self, provider: Provider, api_key: str) -> str:
        return self.portkey_key or (api_key if holds_key(provider) else "")


class _Reader:
    def __init__(self, inner: StreamReader) -> None:
        self._inner = inner
        self._guardrail_failed = False

    @property
    def done(self) -> bool:
        return self._inner.done

    def feed(self, event: StreamEvent) -> str:
        text = self._inner.feed(event)
        if '"hook_results"' in event.data:
            self._guardrail_failed = self._guardrail_failed or _guardrail_failed(parse_object(event.data))
        return text

    def finish(self) -> Answer:
        return _checked(self._inner.finish(), guardrail_failed=self._guardrail_failed)


def _checked(answer: Answer, *, guardrail_failed: bool) -> Answer:
    """`answer`, unless it ended in an error: the gateway drops what the provider said of it, and keeps the rest.

    Raises:
        ServerFailed: it did.
    """
    if answer.finish == "error":
        raise ServerFailed(status=200, usage=answer.usage, cost_nusd=answer.cost_nusd, partial_text=answer.text)
    return replace(answer, notes=(*answer.notes, GUARDRAIL_NOTE)) if guardrail_failed else answer


def _guardrail_failed(reply: JsonObject) -> bool:
    """Whether a check failed without stopping the request; the status (246) says no more than that."""
    results = as_object(reply.get("hook_results"))
    kinds = ("before_request_hooks", "after_request_hooks")
    return any(check.get("verdict") is False for kind in kinds for check in as_objects(results.get(kind)))


def _unwrapped(body: bytes) -> bytes:
    """What the provider said, where the gateway could make nothing of it and quotes it in a sentence of its own."""
    if b"Invalid response received from " not in body:
        return body
    try:
        quoted = _UNREAD.fullmatch(as_text(as_object(parse_object(body).get("error")).get("message")))
    except InvalidAnswer:
        return body
    return quoted["body"].encode() if quoted else body


def _refused_the_route(body: bytes) -> bool:
    """Whether Portkey itself could not follow its headers: an unknown name, a host that it does not call."""
    try:
        return parse_object(body).get("status") == "failure"
    except InvalidAnswer:
        return False
