"""What a person may ask for by name: texts that tell an assistant which tools to call, and what to make of the results."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from mcp.types import GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

Given = Mapping[str, str]

MAX_CHARS = 200_000
"""Of one argument."""
CAP_USD = 0.05
"""What a prompt lets one call cost, where the person names no other amount."""

COLLECT = (
    'Where a result says `"status":"running"`, call `complete` again with nothing but its `request_id`. Where a call'
    " fails, say so and go on without it: do not answer in its place."
)


class BadArguments(Exception):
    """A prompt cannot be made from what was given. The message says what to do, and repeats no value."""


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Common:
    """One common ask."""

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    write: Callable[[Given], str]


def _compare(given: Given) -> str:
    question = given["question"]
    if models := [name.strip() for name in given.get("models", "").split(",") if name.strip()]:
        first = f"Ask these models: {', '.join(f'`{name}`' for name in models)}."
    else:
        first = (
            f"First call `route_task` with {_json(prompt=question)}; it is free. Take three models from its `route` that"
            " differ in `model` and, if possible, in `provider`: the first, the cheapest by `expected_usd`, and the"
            " strongest by `strength`."
        )
    calls = _json(prompt=question, model="<the model>", fallback_providers=[], max_cost_usd=CAP_USD)
    return _text(
        f"Compare what several language models answer to the question below. {first}",
        f"Then call `complete` once for each of them, with {calls}. {COLLECT}",
        "When all have answered:\n"
        "1. A table: model, provider, cost_usd, latency_ms, and in one line what it answered.\n"
        "2. Where the answers agree, and every point on which they contradict each other.\n"
        "3. Which one you would rely on for this question, why, and whether the dearer ones were worth their price.",
        f"The question:\n\n{question}",
    )


def _cheapest(given: Given) -> str:
    question = given["question"]
    arguments = {"prompt": question, "strategy": "escalate", "max_cost_usd": _dollars(given)}
    if task := given.get("task"):
        arguments["task"] = task
    return _text(
        "Get the cheapest good answer to the question below. The cheap model is asked first; a stronger one follows by"
        " itself where that answer is empty, refused, cut off or off its form.",
        f"Call `complete` with {_json(**arguments)}. {COLLECT}",
        "Read the answer before you pass it on. If the result has a `flaw`, or you see that the answer is wrong or does"
        ' not do what was asked, call `complete` once more with the same prompt, `"strategy":"task"` and'
        ' `"cache":"refresh"`, and say what was wrong with the first.',
        "Then give the answer, and under it one line: model, cost_usd, whether it came from the `cache`, and what"
        " escalating saved or wasted, if the result says so.",
        f"The question:\n\n{question}",
    )


def _second_opinion(given: Given) -> str:
    question, answer = given["question"], given["answer"]
    system = (
        "You check another's answer. Say what is right in it, what is wrong or missing, and how sure you are. Do not"
        " agree out of politeness. End with your own answer in one sentence."
    )
    arguments = {"prompt": f"Question:\n{question}\n\nAnswer to check:\n{answer}", "system": system}
    arguments |= {name: given[name] for name in ("provider", "model") if given.get(name)}
    if len(arguments) == 2:
        arguments["task"] = "complex_reasoning"
    return _text(
        "Get a second opinion on an answer, from a model that did not write it.",
        f"Call `complete` with {json.dumps(arguments | {'max_cost_usd': CAP_USD}, ensure_ascii=False)}. {COLLECT}",
        "If the result's `model` is the one that wrote the answer to check, ask once more with another `model`, from"
        " `route_task` with the same arguments.",
        "Then say: where the two agree; where they differ, and for each difference who is right and how you know"
        " (calculate, look up or quote; do not just believe one of them); the answer as it stands after that. Name the"
        " model that was asked and what it cost.",
    )


def _weekly(_: Given) -> str:
    return _text(
        "Review what the language models cost in the last seven days. Everything here is free; call no `complete`.",
        f"Call `cost_report` with {_json(period='7_days', group_by='model')}, then the same with `group_by` provider,"
        f" task and day, then `cost_report` with {_json(period='month')}, then `provider_status` with no arguments.",
        "Then write a review of one page:\n"
        "1. Spent in the seven days, on which days most, and what the month will come to (`projection`) against its"
        " budget.\n"
        "2. The three dearest models and tasks: their share, their cost per request, and whether a cheaper model"
        " would do for them (`orchestra://models` has the prices).\n"
        "3. What the cache and escalation saved, what was `wasted`, and how many attempts failed, at whom.\n"
        "4. What stands as `uncertain`, and every alert.\n"
        "5. At most three things to change, each as a setting, a budget or a routing rule, with what it would save"
        " by these figures.",
        "Use only figures from the results, and say where there are too few to judge.",
    )


COMMON = (
    Common(
        "compare_models",
        "Compare models",
        "Put one question to several models and compare answers, cost and speed.",
        (
            Argument("question", "What to ask.", required=True),
            Argument("models", "Whom to ask, separated by commas; chosen from the route when absent."),
        ),
        _compare,
    ),
    Common(
        "cheapest_good_answer",
        "Cheapest good answer",
        "Ask the cheapest model that will do, and a stronger one only if its answer will not.",
        (
            Argument("question", "What to ask.", required=True),
            Argument("task", "Kind of work, e.g. coding; guessed when absent."),
            Argument("max_cost_usd", f"Most that it may cost; {CAP_USD} when absent."),
        ),
        _cheapest,
    ),
    Common(
        "second_opinion",
        "Second opinion",
        "Have another model check an answer.",
        (
            Argument("question", "What was asked.", required=True),
            Argument("answer", "The answer to check.", required=True),
            Argument("provider", "Whom to ask; chosen by task when absent."),
            Argument("model", "Which model to ask; chosen by task when absent."),
        ),
        _second_opinion,
    ),
    Common(
        "weekly_cost_review",
        "Weekly cost review",
        "Where the money of the last seven days went, and what would save some.",
        (),
        _weekly,
    ),
)
BY_NAME: Mapping[str, Common] = {one.name: one for one in COMMON}


def listed() -> list[Prompt]:
    return [
        Prompt(
            name=one.name,
            title=one.title,
            description=one.description,
            arguments=[
                PromptArgument(name=each.name, description=each.description, required=each.required)
                for each in one.arguments
            ],
        )
        for one in COMMON
    ]


def written(name: str, arguments: Given) -> GetPromptResult:
    """Raises: BadArguments: no such prompt, or something is missing, unknown or wrong."""
    if (common := BY_NAME.get(name)) is None:
        raise BadArguments(f"There is no such prompt. There are: {', '.join(BY_NAME)}.")
    given = {name: value for name, value in arguments.items() if value.strip()}
    known = [one.name for one in common.arguments]
    for one in common.arguments:
        if one.required and one.name not in given:
            raise BadArguments(f"`{one.name}` is missing. {one.description}")
    for unknown in given.keys() - set(known):
        guess = get_close_matches(unknown, known, n=1)
        hint = f"Did you mean `{guess[0]}`?" if guess else f"It takes {', '.join(known) or 'none'}."
        raise BadArguments(f"`{name}` has no such argument. {hint}")
    for argument, value in given.items():
        if len(value) > MAX_CHARS:
            raise BadArguments(f"`{argument}` is too long: at most {MAX_CHARS:,} characters.")
    message = PromptMessage(role="user", content=TextContent(type="text", text=common.write(given)))
    return GetPromptResult(description=common.description, messages=[message])


def _dollars(given: Given) -> float:
    try:
        amount = float(given.get("max_cost_usd", CAP_USD))
    except ValueError:
        amount = -1
    if not 0 <= amount <= 10_000:
        raise BadArguments("`max_cost_usd` is an amount in dollars, 0 to 10,000: 0.05.")
    return amount


def _json(**arguments: object) -> str:
    return json.dumps(arguments, ensure_ascii=False)


def _text(*paragraphs: str) -> str:
    return "\n\n".join(paragraphs)
