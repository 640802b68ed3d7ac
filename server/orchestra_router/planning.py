"""Plans the route of a request, from everything that stands around it at the moment."""

from orchestra_router.config import Config
from orchestra_router.deployments import Plan
from orchestra_router.inventory import Inventory
from orchestra_router.policy import routing
from orchestra_router.policy.health import Health
from orchestra_router.policy.learning import Learning
from orchestra_router.policy.ledger import Ledger
from orchestra_router.policy.prefixes import Beginnings, Prefixes
from orchestra_router.policy.strategies import Turns
from orchestra_router.policy.surroundings import Surroundings
from orchestra_router.policy.survey import Surveys
from orchestra_router.pricing import Pricing
from orchestra_router.routing_rules import Rule


class Planner:
    def __init__(
        self,
        config: Config,
        pricing: Pricing,
        inventory: Inventory,
        ledger: Ledger,
        health: Health,
        learning: Learning,
        prefixes: Prefixes,
    ) -> None:
        self._config = config
        self._pricing = pricing
        self._inventory = inventory
        self._ledger = ledger
        self._health = health
        self._learning = learning
        self._prefixes = prefixes
        self._turns = Turns()
        self._surveys = Surveys()

    async def plan(self, begun: Beginnings, task_reason: str, rule: Rule | None, *, search_is_implied: bool) -> Plan:
        """The route for the request that `begun` is of, cheapest first where a budget says so.

        Raises: as `routing.plan` does, and
            StoreError: the ledger cannot be read.
        """
        around = Surroundings(
            config=self._config,
            pricing=self._pricing,
            health=await self._health.view(),
            local=await self._inventory.local(),
            learned=await self._learning.view(),
            turns=self._turns.given,
            cached_tokens=self._prefixes.counting(begun),
        )
        plan = routing.plan(
            begun.request,
            around,
            task_reason=task_reason,
            search_is_implied=search_is_implied,
            rule=rule,
            surveys=self._surveys,
        )
        return await self._ledger.within_budgets(plan, begun.request)

    def carried_out(self, plan: Plan) -> None:
        """Count the turn that `plan` takes. To be called before anything else can plan."""
        self._turns.take(plan.turn)
