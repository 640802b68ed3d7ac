"""May the answer to one prompt be served for another that an embedding finds close? Decided by rules on their words.

Embeddings find "turn on" and "turn off" more alike than "turn on" and "enable". So a pair that is close also has to
agree in what changes an answer: literals, numbers, negations, opposites, then the kind of question, limiting words,
names, the order of things, and at last every word that only one of them has. Where the rules do not reach (another
language, a very long text) only the same text passes.
"""

from orchestra_router.policy.lexical_guard.figures import figures, figures_of
from orchestra_router.policy.lexical_guard.parsing import Parsed, parse
from orchestra_router.policy.lexical_guard.rules import GUARD_VERSION, Level, difference
from orchestra_router.policy.lexical_guard.tables import ready

__all__ = ["GUARD_VERSION", "Level", "Parsed", "difference", "figures", "figures_of", "parse", "ready"]
