"""Which simulated provider serves which models, until when, and at what price."""

import datetime as dt
from dataclasses import dataclass
from fractions import Fraction

from orchestra_router.simulation.prices import Rates

_HALF_MORE = Fraction(3, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    id: str
    prices: tuple[Rates, ...] = ()
    context: int = 1_000_000
    max_output: int = 128_000
    effort: str = "none"
    """How hard it thinks when not told."""
    always_thinks: bool = False
    """Refuses to be told not to."""
    forced_tools: bool = True
    reasons: bool = True
    """OpenAI: takes an effort, and so neither sampling parameters, nor stop sequences, nor `max_tokens`."""
    made_by: str = ""
    """Whom OpenRouter names as the provider."""
    ends: dt.date | None = None
    """From this day (UTC) on it is not served."""
    then: str = ""
    """The model that answers in its place from that day on, instead of a refusal (Gemini)."""


def _openai(input_: str, cached: str, written: str, output: str) -> tuple[Rates, ...]:
    """Above 272,000 tokens of input: twice the input rates, half more for output."""
    return (
        Rates(
            input_,
            output,
            cached,
            written,
            above=272_000,
            input_factor=Fraction(2),
            output_factor=_HALF_MORE,
            search="10",
        ),
    )


def _claude(input_: str, cached: str, written: str, written_1h: str, output: str) -> tuple[Rates, ...]:
    return (Rates(input_, output, cached, written, written_1h, search="10"),)


def _deepseek(input_: str, cached: str, output: str) -> tuple[Rates, ...]:
    return (Rates(input_, output, cached, off_peak_factor=Fraction(1, 2)),)


def _grok(input_: str, cached: str, output: str) -> tuple[Rates, ...]:
    """Prompts of 200,000 tokens or more double every rate."""
    two = Fraction(2)
    return (Rates(input_, output, cached, above=199_999, input_factor=two, output_factor=two, search="5"),)


def _gemini(input_: str, cached: str, output: str) -> Rates:
    return Rates(input_, output, cached, search="14")


_HAIKU = Rates(
    "0.10",
    "0.50",
    "0.01",
    "0.125",
    "0.20",
    above=100_000,
    input_factor=Fraction(5),
    output_factor=Fraction(5),
    search="10",
)

_DECEMBER_11 = dt.date(2026, 12, 11)
_JANUARY_14 = dt.date(2027, 1, 14)
OPENAI = (
    Model(id="gpt-6-luna", prices=_openai("0.10", "0.01", "0.125", "0.50"), context=1_050_000, effort="medium"),
    Model(id="gpt-6.1-terra", prices=_openai("1", "0.05", "1.25", "5"), context=1_050_000, effort="medium"),
    Model(
        id="gpt-6.1-sol",
        prices=_openai("2", "0.10", "2.50", "10"),
        context=1_050_000,
        effort="medium",
        always_thinks=True,
    ),
    Model(
        id="gpt-6.2-sol",
        prices=_openai("2", "0.10", "2.50", "10"),
        context=1_050_000,
        effort="medium",
        always_thinks=True,
    ),
    # The rate of a cache write is not published; these bills take one and a quarter times the input, as its siblings.
    Model(
        id="gpt-6.2-astra",
        prices=_openai("8", "0.40", "10", "40"),
        context=1_050_000,
        effort="medium",
        always_thinks=True,
    ),
    *(
        Model(id=id_, prices=(Rates(*rates, search="10"),), context=context, effort="medium", ends=_DECEMBER_11)
        for id_, context, rates in (
            ("gpt-5", 400_000, ("1.25", "10", "0.125")),
            ("gpt-5-mini", 400_000, ("0.25", "2", "0.025")),
            ("gpt-5-nano", 400_000, ("0.05", "0.40", "0.005")),
            ("o3", 200_000, ("2", "8", "0.50")),
        )
    ),
    *(
        Model(id=id_, prices=(Rates(*rates, search="10"),), context=context, reasons=False, ends=_JANUARY_14)
        for id_, context, rates in (
            ("gpt-4o", 128_000, ("2.50", "10", "1.25")),
            ("gpt-4.1", 1_047_576, ("2", "8", "0.50")),
        )
    ),
)

ANTHROPIC = (
    Model(id="claude-haiku-5-5", prices=(_HAIKU,)),
    Model(
        id="claude-sonnet-5-5",
        prices=_claude("2", "0.10", "2.50", "4", "10"),
        effort="high",
        always_thinks=True,
        forced_tools=False,
    ),
    Model(
        id="claude-opus-5-5",
        prices=_claude("4", "0.20", "5", "8", "20"),
        effort="high",
        always_thinks=True,
        forced_tools=False,
    ),
    Model(
        id="claude-fable-5-2",
        prices=_claude("8", "0.20", "10", "16", "40"),
        effort="high",
        always_thinks=True,
        forced_tools=False,
    ),
    Model(
        id="claude-sonnet-4-5",
        prices=(
            Rates(
                "3",
                "15",
                "0.30",
                "3.75",
                "6",
                above=200_000,
                input_factor=Fraction(2),
                output_factor=_HALF_MORE,
                search="10",
            ),
        ),
        context=200_000,
        max_output=64_000,
        ends=dt.date(2026, 11, 30),
    ),
)

DEEPSEEK = (
    Model(id="deepseek-flash", prices=_deepseek("0.30", "0.006", "1.20"), max_output=384_000, effort="high"),
    Model(id="deepseek-v4-flash", prices=_deepseek("0.30", "0.006", "1.20"), max_output=384_000, effort="high"),
    Model(id="deepseek-v4-pro", prices=_deepseek("1.32", "0.044", "3.96"), max_output=384_000, effort="high"),
)

GEMINI = (
    Model(
        id="gemini-3.5-flash-lite",
        prices=(_gemini("0.30", "0.03", "2.50"),),
        context=1_048_576,
        max_output=65_536,
        effort="minimal",
    ),
    Model(
        id="gemini-2.5-flash-lite",
        prices=(Rates("0.10", "0.40", "0.01", search="35"),),
        context=1_048_576,
        max_output=65_536,
    ),
    Model(
        id="gemini-2.5-flash",
        prices=(Rates("0.30", "2.50", "0.03", search="35"),),
        context=1_048_576,
        max_output=65_536,
        effort="medium",
        ends=dt.date(2026, 12, 1),
        then="gemini-3.5-flash-lite",
    ),
    Model(
        id="gemini-2.5-pro",
        prices=(
            Rates(
                "1.25",
                "10",
                "0.125",
                above=200_000,
                input_factor=Fraction(2),
                output_factor=_HALF_MORE,
                search="35",
            ),
        ),
        context=1_048_576,
        max_output=65_536,
        effort="medium",
        always_thinks=True,
        ends=dt.date(2026, 12, 1),
        then="gemini-3.8-flash",
    ),
    Model(
        id="gemini-3.8-flash",
        prices=(
            _gemini("0.75", "0.075", "3.75"),
            Rates("1.50", "7.50", "0.15", since=dt.date(2027, 1, 1), search="14"),
        ),
        context=1_048_576,
        max_output=65_536,
        effort="medium",
    ),
    Model(
        id="gemini-4-argon",
        prices=(_gemini("2", "0.10", "10"), Rates("4", "20", "0.20", since=dt.date(2026, 12, 1), search="14")),
        context=1_048_576,
        max_output=1_048_576,
        effort="high",
        always_thinks=True,
    ),
)

PERPLEXITY = (
    Model(id="perplexity/sonar", prices=(Rates("0.25", "2.50", "0.0625", search="2.50"),), context=128_000),
    Model(id="perplexity/glm-5.3-flash", prices=(Rates("0.15", "0.50", "0.03", search="2.50"),), effort="low"),
)
PERPLEXITY_FAST_SEARCH = "1"
"""US dollars per 1,000 searches of the fast kind."""
PERPLEXITY_PRESETS = ("fast", "low", "medium", "high", "xhigh")

TOGETHER = (
    Model(
        id="openai/gpt-oss-120b",
        prices=(Rates("0.15", "0.60"),),
        context=131_072,
        max_output=131_072,
        effort="medium",
    ),
    Model(id="zai-org/GLM-5.3-Flash", prices=(Rates("0.15", "0.50", "0.03"),), context=1_048_575),
    Model(id="zai-org/GLM-5.3", prices=(Rates("1.40", "4.40", "0.26"),), context=1_048_575),
    Model(id="deepseek-ai/DeepSeek-V4.1-Flash", prices=(Rates("0.30", "1.20", "0.006"),), context=1_048_576),
    Model(id="moonshotai/Kimi-K3", prices=(Rates("3", "15", "0.30"),), context=1_048_576),
)

XAI = (
    Model(id="grok-4.3", prices=_grok("1.25", "0.20", "2.50"), effort="low"),
    Model(id="grok-build-0.1", prices=_grok("1", "0.20", "2"), context=256_000),
    Model(id="grok-4.7", prices=_grok("2", "0.50", "6"), context=500_000, effort="medium"),
)

# OpenRouter charges a search at its maker's own price where the maker has one, else at that of its search partner.
_OPENROUTER_SEARCH = {"Anthropic": "10", "xAI": "5"}
OPENROUTER = tuple(
    Model(
        id=id_,
        prices=(
            _openai(input_, cached, written, output)
            if made_by == "OpenAI"
            else (Rates(input_, output, cached, written, search=_OPENROUTER_SEARCH.get(made_by, "20")),)
        ),
        context=context,
        effort=effort,
        made_by=made_by,
    )
    for id_, made_by, context, effort, (input_, cached, written, output) in (
        ("openai/gpt-6-luna", "OpenAI", 1_050_000, "medium", ("0.10", "0.01", "0.125", "0.50")),
        ("openai/gpt-6.1-terra", "OpenAI", 1_050_000, "medium", ("1", "0.05", "1.25", "5")),
        ("openai/gpt-6.1-sol", "OpenAI", 1_050_000, "medium", ("2", "0.10", "2.50", "10")),
        ("openai/gpt-6.2-sol", "OpenAI", 1_050_000, "medium", ("2", "0.10", "2.50", "10")),
        ("openai/gpt-oss-120b", "DeepInfra", 131_072, "medium", ("0.10", "", "", "0.50")),
        ("anthropic/claude-haiku-5.5", "Anthropic", 1_000_000, "none", ("0.10", "0.01", "0.125", "0.50")),
        ("anthropic/claude-sonnet-5.5", "Anthropic", 1_000_000, "medium", ("2", "0.10", "2.50", "10")),
        ("anthropic/claude-opus-5.5", "Anthropic", 1_000_000, "medium", ("4", "0.20", "5", "20")),
        ("anthropic/claude-fable-5.1", "Anthropic", 1_000_000, "medium", ("10", "0.25", "12.50", "50")),
        ("anthropic/claude-fable-5.2", "Anthropic", 1_000_000, "medium", ("8", "0.20", "10", "40")),
        ("deepseek/deepseek-v4.1-flash", "DeepSeek", 1_048_576, "medium", ("0.21", "0.0042", "", "0.84")),
        ("deepseek/deepseek-v4-pro", "DeepSeek", 1_000_000, "medium", ("1.416", "0.118", "", "2.832")),
        ("google/gemini-3.5-flash-lite", "Google", 1_048_576, "minimal", ("0.30", "0.03", "", "2.50")),
        ("google/gemini-4-argon", "Google", 1_048_576, "high", ("2", "0.10", "", "10")),
        ("google/gemini-3.8-flash", "Google", 1_048_576, "medium", ("0.75", "0.075", "", "3.75")),
        ("moonshotai/kimi-k3", "Moonshot AI", 1_048_576, "none", ("3", "0.30", "", "15")),
        ("x-ai/grok-4.3", "xAI", 1_000_000, "low", ("1.25", "0.20", "", "2.50")),
        ("x-ai/grok-build-0.1", "xAI", 256_000, "none", ("1", "0.20", "", "2")),
        ("x-ai/grok-4.7", "xAI", 500_000, "medium", ("2", "0.50", "", "6")),
        ("z-ai/glm-5.3-flash", "Z.AI", 1_310_720, "none", ("0.15", "0.03", "", "0.50")),
        ("z-ai/glm-5.3", "Z.AI", 1_048_576, "none", ("1.40", "0.26", "", "4.40")),
    )
)

OLLAMA = (
    Model(id="gpt-oss:20b", context=131_072, effort="low"),
    Model(id="llama3.2:3b", context=131_072),
    Model(id="qwen3:8b", context=40_960, effort="low"),
)
