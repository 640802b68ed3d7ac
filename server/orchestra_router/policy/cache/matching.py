"""The one decision: may the answer to one prompt be served for another. What `cache eval` measures is this."""

from orchestra_router.policy.lexical_guard import Parsed, difference

STRICTEST = 4
END_MARKS = " ?!.\u3002\uff1f\uff01"


def refusal(earlier: Parsed, asked: Parsed, similarity: float, *, threshold: float, level: int) -> str | None:
    """Why what answers `earlier` must not be served for `asked`; None: it may be.

    `similarity` is the dot product of the prompts' vectors, `level` the lexical guard's, from 1 to 4.
    """
    if not similarity >= threshold:  # so that NaN is refused
        return f"not alike enough: {similarity:.2f}"
    return difference(earlier, asked, level=level)


def refusal_by_words(earlier: Parsed, asked: Parsed) -> str | None:
    """The same without vectors: only the very same words will do, read either way round."""
    return difference(earlier, asked, level=STRICTEST) or difference(asked, earlier, level=STRICTEST)


def signature(parsed: Parsed) -> list[object]:
    """What `difference` lets differ at no level: two prompts of other signatures need not be compared at all."""
    if not parsed.covered:
        return [parsed.text.rstrip(END_MARKS)]
    negations = sum(item.kind == "not" for item in parsed.items)
    return [parsed.literals, sorted(parsed.quantities.items()), negations]


def words(parsed: Parsed) -> list[object]:
    """What `difference` does not let differ at its strictest."""
    return [signature(parsed), sorted(item.key for item in parsed.items)]
