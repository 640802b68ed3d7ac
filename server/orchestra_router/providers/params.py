"""Which of the caller's parameters a deployment takes: one decision for all formats.

A parameter that only steers an answer is left out where it is not taken, and a note says so. One whose absence would
change what is asked (tools, images, a schema, a search) is never left out: the request is refused instead.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestra_router.deployments import Deployment, Provider
from orchestra_router.errors import InvalidRequest
from orchestra_router.types import CompletionRequest, Effort, Format, Image, ToolCall, ToolResult

Optional = Literal["temperature", "top_p", "seed", "stop", "effort"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What to send. None and () mean: send nothing, not even the vendor's default."""

    max_tokens: int
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    effort: Effort | None = None
    notes: tuple[str, ...] = ()


def fit(deployment: Deployment, request: CompletionRequest, *, lacks: Collection[Optional] = ()) -> Params:
    """`request`'s parameters as `deployment` takes them. `lacks` names more that the call cannot say.

    `max_tokens` is lowered to what the model can write, even under `strict_params`: it is a limit, and stays one.

    Raises:
        InvalidRequest: something that cannot be left out is not possible here, or, with `strict_params`, anything
            the caller set.
    """
    _check_what_cannot_be_left_out(deployment, request)
    return _Fitting(deployment, request, {*lacks, *_unsayable(deployment.provider)}).params()


def _unsayable(provider: Provider) -> Collection[str]:
    """Responses have no `stop`, and Perplexity's no sampling either: it refuses fields that it does not know."""
    if provider.search_style == "perplexity":
        return ("stop", "temperature", "top_p", "seed", *provider.lacks)
    return (*_UNSAYABLE.get(provider.format, ()), *provider.lacks)


_UNSAYABLE: Mapping[Format, tuple[Optional, ...]] = {"responses": ("stop", "seed"), "messages": ("seed",)}


class _Fitting:
    def __init__(self, deployment: Deployment, request: CompletionRequest, lacks: Collection[str]) -> None:
        self.deployment = deployment
        self.request = request
        self.lacks = lacks
        self.notes: list[str] = []

    def params(self) -> Params:
        effort = self._effort()
        return Params(
            max_tokens=self._max_tokens(),
            temperature=self._temperature(effort),
            top_p=self._sampling("top_p", self.request.top_p, effort),
            seed=self._seed(),
            stop=self._stop(),
            effort=effort,
            notes=tuple(self.notes),
        )

    def _max_tokens(self) -> int:
        wanted, most = self.request.max_tokens, self.deployment.max_output_tokens
        if wanted > most:
            self.notes.append(f"max_tokens was lowered from {wanted} to {most}: {self._name} writes no more")
        return min(wanted, most)

    def _effort(self) -> Effort | None:
        effort, model, provider = self.request.effort, self.deployment.model, self.deployment.provider
        if effort is None or (effort == "none" and model.thinks == "no"):
            return None
        # Chat completions have several ways to say it, or none; every other format has one of its own.
        sayable = provider.format != "chat" or provider.effort_style != "none"
        if effort in model.efforts and sayable and "effort" not in self.lacks:
            return effort
        self._leave_out("effort", f"does not take {effort!r}" if model.efforts and sayable else "does not take it")
        return None

    def _temperature(self, effort: Effort | None) -> float | None:
        temperature = self._sampling("temperature", self.request.temperature, effort)
        most = self.deployment.provider.max_temperature
        if temperature is None:
            return None
        if temperature > most:
            if self.request.strict_params:
                raise InvalidRequest(
                    f"temperature: {self.deployment.key} takes at most {most:g}; lower it, or set strict_params to false"
                )
            self.notes.append(
                f"temperature was lowered from {temperature:g} to {most:g}: {self._provider} takes no more"
            )
        return min(temperature, most)

    def _sampling(
        self, parameter: Literal["temperature", "top_p"], value: float | None, effort: Effort | None
    ) -> float | None:
        sampling = self.deployment.model.sampling
        if value is None:
            return None
        if parameter in self.lacks or sampling == "no":
            self._leave_out(parameter, "does not take it")
            return None
        if sampling == "effort_none" and effort != "none":
            self._leave_out(parameter, "takes it only with effort 'none'")
            return None
        return value

    def _seed(self) -> int | None:
        if self.request.seed is not None and "seed" in self.lacks:
            self._leave_out("seed", "does not take it")
            return None
        return self.request.seed

    def _stop(self) -> tuple[str, ...]:
        stop, most = self.request.stop, self.deployment.provider.max_stop
        if not stop:
            return ()
        if not self.deployment.model.stop or "stop" in self.lacks:
            self._leave_out("stop", "does not take it")
            return ()
        if len(stop) > most:
            raise InvalidRequest(
                f"stop: {self.deployment.key} takes at most {most} sequences, not {len(stop)}; send fewer"
            )
        return stop

    def _leave_out(self, parameter: Optional, why: str) -> None:
        if self.request.strict_params:
            raise InvalidRequest(
                f"{parameter}: {self.deployment.key} {why}; leave it out, or set strict_params to false"
            )
        self.notes.append(f"{parameter} was left out: {self._name} {why}")

    @property
    def _name(self) -> str:
        return self.deployment.model.name or self.deployment.offer.id

    @property
    def _provider(self) -> str:
        return self.deployment.provider.title or self.deployment.provider.name


def _check_what_cannot_be_left_out(deployment: Deployment, request: CompletionRequest) -> None:
    model, key = deployment.model, deployment.key
    if request.tools and not model.tools:
        raise InvalidRequest(f"tools: {key} cannot call tools; choose a model that can")
    if "tools" in deployment.provider.lacks and _uses_tools(request):
        raise InvalidRequest(f"tools: they are lost on the way to {key}; choose another provider")
    if request.tools and request.tool_choice not in {"auto", "none"} and not model.forced_tools:
        raise InvalidRequest(f"tool_choice: {key} cannot be made to call a tool; use 'auto' or another model")
    if not model.images and any(isinstance(part, Image) for turn in request.messages for part in turn.parts):
        raise InvalidRequest(f"images: {key} cannot see images; choose a model that can")
    if request.response_schema is not None and not _follows_a_schema(deployment):
        raise InvalidRequest(f"response_schema: {key} cannot be held to a schema; choose a model that can")
    if request.web_search and not _searches(deployment):
        raise InvalidRequest(f"web_search: {key} cannot search the web; choose a deployment that can")


def _uses_tools(request: CompletionRequest) -> bool:
    parts = (part for turn in request.messages for part in turn.parts)
    return bool(request.tools) or any(isinstance(part, ToolCall | ToolResult) for part in parts)


def _follows_a_schema(deployment: Deployment) -> bool:
    style = deployment.provider.schema_style
    # With json_object the schema is said in the prompt, and any model can read that.
    return style == "json_object" or (style == "json_schema" and deployment.model.json_schema)


def _searches(deployment: Deployment) -> bool:
    style = deployment.provider.search_style
    # These two search on behalf of any model; elsewhere the model has to take the tool itself.
    return style in {"openrouter", "perplexity"} or (style != "none" and deployment.model.web_search)
