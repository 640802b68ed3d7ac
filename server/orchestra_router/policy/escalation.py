"""Whether an answer is good enough, as far as that can be told without asking anybody: pure functions.

A cheap model's answer passes every check or goes one step up. Each check is made to err on the side of the answer: one
that is sent up needlessly costs more than asking the stronger model at once.
"""

import ast
import json
import re
import textwrap
import threading
import tomllib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from orchestra_router import patterns
from orchestra_router.deployments import Candidate
from orchestra_router.policy import schemas
from orchestra_router.types import Answer, CompletionRequest

LONGEST_REFUSAL = 600
"""Characters; a longer answer that begins like a refusal says something all the same."""
OPENING = 160
"""Characters of an answer in which a refusal shows."""
MOST_CODE = 200_000
"""Characters of code that are parsed."""
CODE_TASK = "coding"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with an answer. `name` is stable; `detail` is for people and holds nothing of the answer."""

    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


def flaw(answer: Answer, request: CompletionRequest) -> Flaw | None:
    """The first thing wrong with `answer` to `request`; None when it will do.

    Raises:
        TimeoutError: the caller's pattern takes too long, so nobody knows.
    """
    if answer.tool_calls:
        return None
    return (
        empty(answer)
        or truncated(answer)
        or refused(answer, question=_question(request))
        or off_schema(answer, request)
        or not_accepted(answer, request)
        or broken_code(answer, request)
    )


def empty(answer: Answer) -> Flaw | None:
    return None if answer.text.strip() else Flaw("empty", "the answer has no text")


def truncated(answer: Answer) -> Flaw | None:
    return Flaw("truncated", "the answer was cut at its length limit") if answer.finish == "length" else None


def refused(answer: Answer, *, question: str) -> Flaw | None:
    """A refusal by the provider's own word, or a short answer that opens as refusals do in one of many languages.

    Words that the question holds too are quoted or translated, not meant.
    """
    if answer.finish == "content_filter":
        return Flaw("refused", "the provider says that the model refused")
    text = answer.text.strip()
    if len(text) > LONGEST_REFUSAL or "```" in text:
        return None
    match = _REFUSAL.search(_plain(text)[:OPENING])
    if match is None or match[0].strip() in _plain(question):
        return None
    return Flaw("refused", "the answer says that it cannot help")


def off_schema(answer: Answer, request: CompletionRequest) -> Flaw | None:
    if request.response_schema is None:
        return None
    wrong = schemas.mismatch(unfenced(answer.text), request.response_schema)
    return None if wrong is None else Flaw("off_schema", wrong)


def not_accepted(answer: Answer, request: CompletionRequest) -> Flaw | None:
    """Raises: TimeoutError: the pattern takes too long on this text."""
    if request.accept is None or answer.tool_calls or patterns.found(request.accept, answer.text):
        return None
    return Flaw("not_accepted", "the answer does not match `accept`")


def broken_code(answer: Answer, request: CompletionRequest) -> Flaw | None:
    """Code in fences that does not parse, where code was asked for. Nothing is run."""
    if request.task != CODE_TASK or len(answer.text) > MOST_CODE:
        return None
    if len(_FENCE.findall(answer.text)) % 2:
        return Flaw("broken_code", "a block of code has no end")
    for block in _BLOCK.finditer(answer.text):
        language = block["language"].lower()
        if language in _PARSERS and not _PARSERS[language](textwrap.dedent(block["code"])):
            return Flaw("broken_code", f"its {language} does not parse")
    return None


def unfenced(text: str) -> str:
    """What stands inside the one fence that is around all of `text`; else `text`."""
    match = _BLOCK.fullmatch(text.strip())
    return match["code"] if match else text


def one_step_up(route: Sequence[Candidate], answered: Candidate) -> list[Candidate]:
    """Who is asked when the answer of `answered` will not do: behind a cheap step the strong one alone, else the rest."""
    if answered.step == "cheap":
        return [candidate for candidate in route if candidate.step == "strong"]
    return list(route[route.index(answered) + 1 :])


def _question(request: CompletionRequest) -> str:
    return next((message.text for message in reversed(request.messages) if message.role == "user"), "")


# --- refusals ------------------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").lower().split())


_DO = (
    r"(?:help|assist|provide|comply|answer|fulfil|fulfill|create|generate|write|produce|do that|do this|access|browse"
    r"|open|view|see|search|look up|discuss|share|give|offer|support|engage|complete|process|perform|tell|say|determine"
    r"|verify|confirm|carry|participate|be able)\b"
)
_CANNOT = r"i(?:'m| am)? (?:cannot|can't|can not|won't|will not|unable to|not able to|not allowed to|not comfortable)"
_SORRY = r"(?:(?:i'm |i am |i'm really |we're )?(?:very |truly )?sorry|i apologi[sz]e|my apologies|unfortunately|regrettably)"
_REFUSAL = re.compile(
    "|".join(
        (
            rf"^(?:{_SORRY}[^a-z]{{1,3}}(?:but )?)?(?:{_CANNOT}) (?:\w+ ){{0,2}}?{_DO}",
            r"^(?:i'm |i am )?sorry[^a-z]{1,3}(?:but )?i (?:don't|do not) (?:know|have (?:access|the ability|enough))",
            r"^i (?:don't|do not) (?:know[.!]|have (?:access to|the ability to|enough information to)\b)",
            r"^(?:as|being) an? (?:ai|(?:large )?language model|llm)\b.{0,60}(?:can't|cannot|can not|don't|do not|unable)",
            # German, Dutch, Swedish
            r"^(?:es )?tut mir (?:sehr )?leid.{0,20}(?:ich kann|kann ich|ich darf)",
            r"^(?:leider )?(?:ich kann|kann ich) (?:dir|ihnen|euch|dabei|diese|das|hier)\b.{0,60} nicht",
            r"^het spijt me.{0,20}(?:ik kan|kan ik)",
            r"^ik kan (?:je|u|daar|dit|dat) .{0,40}niet",
            r"^tyvärr kan jag inte",
            # French, Spanish, Italian, Portuguese
            r"^(?:désolée?|je suis désolée?|malheureusement|je regrette).{0,20}je ne (?:peux|suis)",
            r"^je ne (?:peux pas|suis pas en mesure)",
            r"^lo siento.{0,20}no (?:puedo|tengo)",
            r"^no puedo (?:ayudar|proporcionar|responder|hacer|cumplir|generar|crear|acceder)",
            r"^mi dispiace.{0,20}non (?:posso|sono in grado)",
            r"^non posso (?:aiutar|fornir|risponder|far|crear|generar|accedere)",
            r"^(?:desculpe|sinto muito|lamento|infelizmente).{0,20}não (?:posso|consigo)",
            r"^não posso (?:ajudar|fornecer|responder|fazer|criar|gerar|acessar)",
            # Polish, Russian, Ukrainian, Turkish
            r"^(?:przykro mi|przepraszam|niestety).{0,20}nie (?:mogę|jestem w stanie)",
            r"^(?:извините|простите|к сожалению|прошу прощения).{0,20}не могу",
            r"^я не могу (?:помочь|ответить|предоставить|выполнить|создать)",
            r"^(?:вибачте|на жаль|перепрошую).{0,20}не можу",
            r"^(?:üzgünüm|maalesef).{0,80}(?:amam|emem|am\u0131yorum|emiyorum)",
            # Chinese, Japanese, Korean, Arabic, Hindi
            r"^(?:很?抱歉|对不起|對不起|不好意思).{0,12}(?:无法|不能|無法|没办法)",
            r"^(?:我|作为.{0,12}我)(?:无法|不能|無法)(?:提供|回答|帮助|協助|协助|满足|完成|生成)",
            r"^(?:申し訳|すみません|ごめんなさい).{0,60}(?:できません|できかねます|ません)",
            r"^죄송.{0,60}(?:없습니다|어렵습니다|못합니다)",
            r"^(?:عذرا|عذرًا|آسف|أعتذر|للأسف).{0,20}لا (?:أستطيع|يمكنني)",
            r"^(?:क्षमा करें|माफ़ करें|मुझे खेद है).{0,60}(?:नहीं|असमर्थ)",
        )
    )
)


# --- code ----------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^ {0,3}```", re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*```(?P<language>[\w+-]*)[^\n`]*\n(?P<code>.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
_NOT_PLAIN_PYTHON = re.compile(r"^\s*(?:>>>|In \[|[%!$]\s*\w|<<<<<<<)|^\s*\.\.\.\s*$|…", re.MULTILINE)
"""A session, a notebook's commands, or something left out on purpose."""
_NEWER_PYTHON = re.compile(
    r"^\s*type \w+.*=|\b(?:def|class) \w+\[|except [\w.]+, |\b[tT]\"|\b[tT]'|f['\"]", re.MULTILINE
)
"""What a Python newer than ours may take."""
_quiet = threading.Lock()


def _python_parses(code: str) -> bool:
    if _NOT_PLAIN_PYTHON.search(code):
        return True
    try:
        # The filters are the process's, so one thread at a time changes them.
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError):
        return bool(_NEWER_PYTHON.search(code))
    except (RecursionError, MemoryError):
        return True  # nested deeper than our parser likes, which says nothing about the code
    return True


def _json_parses(code: str) -> bool:
    if "..." in code or "…" in code or re.search(r"^\s*(?://|#)|[,{\[]\s*//", code, re.MULTILINE):
        return True
    try:
        json.loads(code)
    except RecursionError:
        return True
    except ValueError:
        # Several documents, one a line.
        return all(_is_json(line) for line in code.splitlines() if line.strip())
    return True


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _toml_parses(code: str) -> bool:
    try:
        tomllib.loads(code)
    except RecursionError:
        return True
    except ValueError:
        return "..." in code
    return True


_PARSERS = {
    "python": _python_parses,
    "py": _python_parses,
    "python3": _python_parses,
    "json": _json_parses,
    "toml": _toml_parses,
}
