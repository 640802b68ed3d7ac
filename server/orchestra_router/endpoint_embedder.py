"""The embedder at a provider or a local server, as a choice instead of the one on this machine.

Each call is an attempt like any other: with the provider's keys in their turn, its breakers and its limits, under the
cap and the deadline of the request it is for, held at its worst case under the budgets of whoever asks, and settled by
what the endpoint says was used. Whatever goes wrong is `EmbedderUnavailable`, and the cache goes on without.
"""

import re
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from orchestra_router.clock import Clock
from orchestra_router.config import Config
from orchestra_router.deployments import Candidate, Figures
from orchestra_router.embedding.base import Embedder, EmbedderState, Payer
from orchestra_router.errors import (
    AccessDenied,
    BudgetExceeded,
    DeadlineExceeded,
    EmbedderUnavailable,
    InvalidAnswer,
    KeyLimitReached,
    PassedOver,
    ProviderError,
    StoreError,
)
from orchestra_router.policy import key_limits, rotation
from orchestra_router.policy.admission import Admission
from orchestra_router.policy.health import Health
from orchestra_router.policy.ledger import Ledger, Reservation
from orchestra_router.policy.purse import Purse
from orchestra_router.pricing import Pricing
from orchestra_router.providers import embeddings, openai_common
from orchestra_router.providers.embeddings import Embedded
from orchestra_router.store.ledger_records import EMBEDDING
from orchestra_router.transport import Transport
from orchestra_router.types import Answer, CompletionRequest

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

NOT_ASKED = (AccessDenied, BudgetExceeded, DeadlineExceeded, KeyLimitReached, PassedOver, StoreError)
"""What says nothing of the endpoint."""
TEXTS_AT_ONCE = 64
TIMEOUT_S = 5.0
"""A vector that takes longer saves nothing."""
SHORTEST_S = 0.05
"""With less than this left of a request's time nothing is asked."""
LONGEST_PAUSE_S = 600.0
"""An endpoint that fails is asked again after the setting `cooldown_s`, then after twice that, up to this."""
_NAME = re.compile(r"[\w.:/-]{1,80}")
PROBE = "dimensions"
"""What is embedded first, to learn how long the vectors are."""


class EndpointEmbedder:
    """The process's embedder where the setting `embedder` names a provider and its model."""

    def __init__(
        self,
        config: Config,
        transport: Transport,
        ledger: Ledger,
        pricing: Pricing,
        health: Health,
        admission: Admission,
        clock: Clock,
    ) -> None:
        provider, _, model = config.settings.embedder.partition("/")
        self.dimensions = 0
        """0 until the first vector has come. Another model under the same name may change them."""
        self._deployment = config.catalog.deployment(model, provider)
        self._answered_as = ""
        """The model that the endpoint says it is, where that is another name."""
        self._config = config
        self._transport = transport
        self._ledger = ledger
        self._pricing = pricing
        self._health = health
        self._admission = admission
        self._clock = clock
        self._problem = ""
        self._failures = 0
        """In a row."""
        self._not_before = 0.0
        """On the clock's monotonic scale."""
        self._learning = anyio.Lock()

    @property
    def identity(self) -> str:
        """Provider, model and, once they are known, what the endpoint calls the model, and dimensions."""
        known = (self._deployment.key, self._answered_as, str(self.dimensions or ""))
        return "/".join(part for part in known if part)

    @property
    def is_free(self) -> bool:
        return self._deployment.provider.local

    async def get(self, payer: Payer) -> Embedder | None:
        """See `EmbedderSource`. None too for an access key that may not ask there.

        The first call pays for one word, to learn the dimensions.
        """
        if key_limits.forbidden(payer.scope.limits, self._deployment):
            return None
        async with self._learning:
            if not self.dimensions:
                try:
                    await self.embed([PROBE], payer)
                except EmbedderUnavailable:
                    return None
        return _Paid(self, payer)

    def state(self) -> EmbedderState:
        if self._clock.monotonic() < self._not_before:
            return EmbedderState(problem=self._problem)
        return EmbedderState(identity=self.identity, source=self._deployment.provider.base_url)

    async def embed(self, texts: Sequence[str], payer: Payer) -> "NDArray[float32]":
        """As `Embedder.embed`, at the cost of `payer`."""
        import numpy as np  # noqa: PLC0415 - 60 ms; imported when the first text is embedded

        rows: list[tuple[float, ...]] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            rows += await self._embed(texts[start : start + TEXTS_AT_ONCE], payer)
        if any(len(row) != self.dimensions for row in rows):
            raise EmbedderUnavailable(f"{self._deployment.key} became another model while it was asked.")
        return np.array(rows, np.float32).reshape(len(texts), self.dimensions)

    async def _embed(self, texts: Sequence[str], payer: Payer) -> Sequence[tuple[float, ...]]:
        if self._clock.monotonic() < self._not_before:
            raise EmbedderUnavailable(self._problem)
        if not await anyio.to_thread.run_sync(self._is_priced):
            raise self._set_aside_for(
                LONGEST_PAUSE_S,
                f"Nobody knows what {self._deployment.key} costs, so it is not asked. Give it a row with `prices` in"
                " orchestra.toml, or set allow_unpriced = true.",
            )
        try:
            embedded = await self._with_keys(texts, payer)
        except NOT_ASKED as error:
            raise EmbedderUnavailable(f"{self._deployment.key} was not asked to embed. {error}") from None
        except ProviderError as error:
            raise self._failed(error) from None
        self._failures = 0
        self.dimensions = len(embedded.vectors[0])
        says_so = _NAME.fullmatch(embedded.model) and embedded.model != self._deployment.offer.id
        self._answered_as = embedded.model if says_so else ""
        return embedded.vectors

    async def _with_keys(self, texts: Sequence[str], payer: Payer) -> Embedded:
        """With each key that may be asked with, until one is not refused."""
        keyring = rotation.keyring(self._deployment, self._config.keys, await self._health.view())
        if keyring.block is not None:
            raise PassedOver(f"It is {keyring.block.reason}.", retry_after_s=TIMEOUT_S)
        candidate = self._candidate(texts, keyring.fingerprints)
        number = 1
        while True:
            began_ms = self._clock.now_ms()
            try:
                return await self._admitted(candidate, texts, payer, number=number)
            except ProviderError as error:
                await self._health.failed(self._deployment, error, fingerprint=candidate.fingerprint, began_ms=began_ms)
                others = rotation.without_key(candidate, candidate) if error.cools == "key" else None
                if others is None:
                    raise
                candidate, number = others, number + 1

    async def _admitted(self, candidate: Candidate, texts: Sequence[str], payer: Payer, *, number: int) -> Embedded:
        """Raises: BudgetExceeded, DeadlineExceeded, PassedOver, StoreError, ProviderError."""
        now = self._clock.monotonic()
        deadline = now + TIMEOUT_S if payer.deadline is None else min(now + TIMEOUT_S, payer.deadline)
        if deadline - now < SHORTEST_S:
            raise DeadlineExceeded("This request's time is over.")
        purse = payer.purse or Purse()
        reservation = None
        async with (
            purse.held(candidate.worst_nusd, within_s=deadline - now),
            self._admission.admitted(candidate, deadline=deadline),
        ):
            began_ms = self._clock.now_ms()
            try:
                async with self._ledger.reserve(
                    candidate,
                    CompletionRequest(messages=(), scope=payer.scope),
                    request_id=f"{EMBEDDING}{secrets.token_hex(8)}",
                    number=number,
                    spent_nusd=0,
                    seconds_left=deadline - self._clock.monotonic(),
                    waited_s=0,
                ) as reservation:
                    embedded = await self._asked(candidate, texts, reservation, deadline=deadline)
            finally:
                if reservation is not None and reservation.attempt is not None:
                    purse.pay(reservation.attempt.cost_nusd)
                    payer.paid.append(reservation.attempt)
            await self._health.succeeded(self._deployment, fingerprint=candidate.fingerprint, began_ms=began_ms)
        return embedded

    async def _asked(
        self, candidate: Candidate, texts: Sequence[str], reservation: Reservation, *, deadline: float
    ) -> Embedded:
        wire = embeddings.build_request(
            self._deployment,
            texts,
            api_key=self._config.keys.secret(self._deployment.provider.name, candidate.fingerprint),
        )
        timeout_s = max(SHORTEST_S, deadline - self._clock.monotonic())
        response = await self._transport.send(wire, timeout_s=timeout_s, on_sending=reservation.sending)
        if response.status >= 300:
            raise openai_common.parse_error(response, now_ms=self._clock.now_ms())
        try:
            embedded = embeddings.parse_response(response.body, texts=len(texts))
            if not embedded.vectors[0]:
                raise InvalidAnswer(usage=embedded.usage, cost_nusd=embedded.cost_nusd)
        except ProviderError as error:
            error.in_answer = True
            raise
        reservation.answered(Answer(text="", usage=embedded.usage, cost_nusd=embedded.cost_nusd))
        return embedded

    def _is_priced(self) -> bool:
        return self._config.settings.allow_unpriced or self._pricing.is_priced(self._deployment)

    def _candidate(self, texts: Sequence[str], keys: tuple[str, ...]) -> Candidate:
        # No tokenizer makes more tokens than bytes, but for one or two that begin and end a text.
        most_tokens = sum(len(text.encode("utf-8", "replace")) + 2 for text in texts)
        worst_nusd = self._pricing.worst_case_nusd(
            self._deployment, input_tokens=most_tokens, output_tokens=0, at_ms=self._clock.now_ms()
        )
        return Candidate(
            deployment=self._deployment,
            reason="embedder",
            keys=keys,
            quote=Figures(worst_nusd=worst_nusd, expected_nusd=worst_nusd, likely_input=most_tokens // 4),
        )

    def _failed(self, error: ProviderError) -> EmbedderUnavailable:
        pause_s = min(LONGEST_PAUSE_S, self._config.settings.cooldown_s * 2 ** min(self._failures, 10))
        pause_s = max(pause_s, error.retry_after_s or 0.0)
        self._failures += 1
        error.deployment = self._deployment.key
        return self._set_aside_for(
            pause_s, f"The embedder failed, and is asked again in {pause_s:.0f} s at the earliest: {error}."
        )

    def _set_aside_for(self, pause_s: float, problem: str) -> EmbedderUnavailable:
        self._not_before, self._problem = self._clock.monotonic() + pause_s, problem
        return EmbedderUnavailable(problem)


class _Paid:
    """The embedder, with who pays for it."""

    def __init__(self, endpoint: EndpointEmbedder, payer: Payer) -> None:
        self._endpoint = endpoint
        self._payer = payer

    @property
    def identity(self) -> str:
        return self._endpoint.identity

    @property
    def dimensions(self) -> int:
        return self._endpoint.dimensions

    async def embed(self, texts: Sequence[str]) -> "NDArray[float32]":
        return await self._endpoint.embed(texts, self._payer)
