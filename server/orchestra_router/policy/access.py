"""Who may ask, and on whose account. Decided by how the caller came in, never by what a request says."""

from dataclasses import dataclass, replace

from orchestra_router.types import CompletionRequest, Scope

LOCAL = Scope(access_key="local")
"""The person who started this process: over stdio there is nobody else. The settings may say who it is."""


@dataclass(frozen=True, slots=True)
class Access:
    scope: Scope = LOCAL

    def admit(self, request: CompletionRequest) -> CompletionRequest:
        """`request` under the scope that pays for it, whatever scope it carried."""
        return replace(request, scope=self.scope)
