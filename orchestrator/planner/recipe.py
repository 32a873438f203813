"""Makes a plan without a model: a recipe is data that says which goals it fits and which steps it makes."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.models.errors import Unplannable
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.models.wording import count_of
from orchestrator.planner.check import PlanOrigin, check_plan
from orchestrator.planner.recipe_template import TemplateValues, fill, fill_steps
from orchestrator.registry.sources import REGISTRY
from orchestrator.safety.archive import is_archive

MAX_TERMS = 12
_QUOTED = re.compile(r'"([^"\n]{1,200})"|“([^”\n]{1,200})”|`([^`\n]{1,200})`')
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_NEEDS = {
    "package": "exactly one attached Python package (.tar.gz, .tgz, .tar, .zip, .whl or a .py file)",
    "text": "attached files or a context",
    "script": "one attached Python script (.py) and the files to run it on, not packed; INPUT.expected beside "
    "an input holds what the script must print for it",
}
_ADVICE = (
    "Attach the files that the goal names (--attach PATH, or the task's `attachments`), and word the goal as a "
    "recipe does.",
    "Or send your own plan (--plan FILE, or the task's `plan`).",
    "Or configure a model: set OPENAI_API_KEY or ANTHROPIC_API_KEY; for a server of your own also OPENAI_BASE_URL; "
    "`octollm fake-llm` starts a server for a trial.",
)
_EXPECTED = ".expected"
_FILLERS = frozenset(
    ["a", "all", "an", "and", "any", "are", "attached", "do", "does", "each", "every", "for", "from", "given", "i",
     "in", "is", "it", "its", "me", "my", "of", "on", "our", "please", "that", "the", "their", "them", "there",
     "these", "this", "those", "to", "with", "you", "your"]
)  # fmt: skip
"""Words of a goal that ask for nothing; words like "not" and "only" are none of them."""
MAX_INPUTS = 40


@dataclass(frozen=True)
class Recipe:
    """The words of the goals that a recipe fits, and the steps that it makes; see registry/recipes/.

    A goal fits when it has one of the verbs and one of the nouns and none of `unless`; `extras` only raise the number
    of matched words. The lowest `rank` wins among recipes with equal numbers.
    """

    recipe: str
    version: str
    description: str
    say: str
    needs: str
    rank: int
    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    extras: tuple[str, ...]
    unless: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...]
    result: Any = None
    terms: bool = False
    stop_words: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Fit:
    recipe: Recipe
    matched: tuple[str, ...]
    filling: TemplateValues


@dataclass(frozen=True)
class _Misfit:
    """Why a recipe does not fit; `lacks` when the words fit and only attachments or terms are missing."""

    recipe: Recipe
    why: str
    lacks: bool = False


def plan_by_recipe(
    contract: Contract,
    attachments: Sequence[Attachment],
    *,
    tenant: str | None = None,
    must_fit_wholly: bool = False,
) -> Plan:
    """Return the plan of the recipe that fits the goal best; `tenant` is the one whose arms it may use.

    With `must_fit_wholly`, only recipes count that do all that the goal says: each of its words is a word of the
    recipe, an unimportant one, or part of a quoted phrase that the recipe searches for; and there are no constraints.
    Raises Unplannable when none fits; its details list the recipes, why each does not fit, and advice.
    """
    outcomes = [_fit(recipe, contract, attachments) for recipe in recipes()]
    if must_fit_wholly:
        outcomes = [
            _whole(outcome, contract) if isinstance(outcome, _Fit) else outcome for outcome in outcomes
        ]
    fits = [outcome for outcome in outcomes if isinstance(outcome, _Fit)]
    if not fits:
        raise _unplannable([outcome for outcome in outcomes if isinstance(outcome, _Misfit)])
    best = min(fits, key=lambda fit: (-len(fit.matched), fit.recipe.rank))
    words = ", ".join(best.matched)
    return check_plan(
        {
            "steps": fill_steps(best.recipe.steps, best.filling),
            "result": fill(best.recipe.result, best.filling),
        },
        tenant=tenant,
        attachments=[attachment.sha256 for attachment in attachments],
        contract=contract,
        is_ours=True,
        origin=PlanOrigin(
            "rules",
            f"Recipe {best.recipe.recipe} fits by the words {words}.",
            {
                "recipe": best.recipe.recipe,
                "version": best.recipe.version,
                "matched": list(best.matched),
                "filling": best.filling.to_record(),
                "llm_used": False,
            },
        ),
    )


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return all recipes of the registry in the order of their file names."""
    return tuple(_read(path) for path in sorted((REGISTRY / "recipes").glob("*.json")))


def describe(recipe: Recipe) -> dict[str, str]:
    """Return what users need to know of a recipe: recipe, version, description, say (an example goal) and needs."""
    return {
        "recipe": recipe.recipe,
        "version": recipe.version,
        "description": recipe.description,
        "say": recipe.say,
        "needs": _NEEDS[recipe.needs],
    }


def _read(path: Path) -> Recipe:
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    members: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return Recipe(**members)


def _fit(recipe: Recipe, contract: Contract, attachments: Sequence[Attachment]) -> _Fit | _Misfit:
    """Return how the recipe fits the task, or why it does not."""
    words = _goal_words(contract)
    if refused := _present(recipe.unless, words):
        return _Misfit(recipe, f"the goal asks to {refused[0]}, which this recipe can't do without a model")
    verbs, nouns = _present(recipe.verbs, words), _present(recipe.nouns, words)
    if not verbs or not nouns:
        kind, known = ("nouns", recipe.nouns) if verbs else ("verbs", recipe.verbs)
        return _Misfit(recipe, f"the goal has none of its {kind} ({', '.join(known)})")
    filling = _template_values(recipe, contract, attachments, words)
    if isinstance(filling, str):
        return _Misfit(recipe, filling, lacks=True)
    return _Fit(recipe, tuple(dict.fromkeys([*verbs, *nouns, *_present(recipe.extras, words)])), filling)


def _whole(fit: _Fit, contract: Contract) -> _Fit | _Misfit:
    """Return the fit if the recipe does all that the goal says, else what it would leave out."""
    recipe = fit.recipe
    known = [*recipe.verbs, *recipe.nouns, *recipe.extras]
    words = _goal_words(contract)
    missed = [
        word for word in words if word not in _FILLERS and not any(_is_form(word, term) for term in known)
    ]
    if missed:
        return _Misfit(recipe, f"it leaves out what the goal says with {', '.join(missed[:MAX_TERMS])}")
    if recipe.terms != bool(_QUOTED.search(contract.goal)):
        return _Misfit(recipe, "it searches for quoted phrases, and does nothing else with them")
    if contract.constraints:
        return _Misfit(recipe, "it can't follow constraints")
    return fit


def _goal_words(contract: Contract) -> list[str]:
    return [word.lower() for word in _WORD.findall(_QUOTED.sub(" ", contract.goal))]


def _present(terms: Iterable[str], words: Sequence[str]) -> list[str]:
    return [term for term in terms if any(_is_form(word, term) for word in words)]


def _is_form(word: str, term: str) -> bool:
    """Tell whether `word` is the term or its regular plural, -ing or -ed form."""
    return word in {
        term,
        f"{term}s",
        f"{term}es",
        f"{term}ed",
        f"{term}ing",
        f"{term.removesuffix('e')}ing",
        f"{term}d",
    }


def _template_values(
    recipe: Recipe, contract: Contract, attachments: Sequence[Attachment], words: Sequence[str]
) -> TemplateValues | str:
    if recipe.needs == "script":
        return _script_values(attachments)
    values: dict[str, str | int] = {}
    if recipe.needs == "package":
        packages = [
            item for item in attachments if is_archive(item.filename) or item.filename.endswith(".py")
        ]
        if len(packages) != 1:
            advice = "attach a package" if not packages else "attach only the one to work on"
            return f"it needs {_NEEDS['package']}; there are {len(packages)}: {advice}"
        values["attachment"] = packages[0].sha256
    elif not attachments and not contract.context:
        return f"it needs {_NEEDS['text']}, and there are none: attach a file"
    if recipe.terms:
        terms = _terms(recipe, contract.goal, words)
        if not terms:
            return 'the goal names nothing to look for; put it in quotes: find "late delivery" in the files'
        values["query"] = " ".join(terms)
    return TemplateValues(values)


def _script_values(attachments: Sequence[Attachment]) -> TemplateValues | str:
    """Return the script, the group of its inputs, and the group of the inputs that have an expected output."""
    scripts = [item for item in attachments if item.filename.endswith(".py")]
    expected = {item.filename: item for item in attachments if item.filename.endswith(_EXPECTED)}
    inputs = [item for item in attachments if item not in scripts and item.filename not in expected]
    if len(scripts) != 1 or not inputs or any(is_archive(item.filename) for item in inputs):
        found = f"{count_of(len(scripts), 'script')} and {count_of(len(inputs), 'input')}"
        return f"it needs {_NEEDS['script']}; attached are {found}"
    if len(inputs) > MAX_INPUTS:
        return f"it runs a script on at most {MAX_INPUTS} inputs, not on {len(inputs)}"
    members: list[dict[str, str | int]] = [
        {"number": number, "input": item.sha256, "name": f"{number} {item.filename[:80]}"}
        for number, item in enumerate(inputs, start=1)
    ]
    # an artifact's id is the sha256 of its bytes; the script's output is compared by its own sha256
    known: list[dict[str, str | int]] = [
        {**member, "expected": expected[item.filename + _EXPECTED].sha256}
        for member, item in zip(members, inputs, strict=True)
        if item.filename + _EXPECTED in expected
    ]
    if len(known) < len(expected):
        return f"a file named {_EXPECTED} has no input: name it INPUT{_EXPECTED} after its INPUT"
    return TemplateValues(
        {"script": scripts[0].sha256, "count": len(inputs)}, {"inputs": members, "known": known}
    )


def _terms(recipe: Recipe, goal: str, words: Sequence[str]) -> list[str]:
    """Return the goal's quoted phrases, or without any its words except verbs, nouns and stop words."""
    quoted = ["".join(groups).strip() for groups in _QUOTED.findall(goal)]
    phrases = [f'"{phrase}"' for phrase in quoted if phrase]
    known = {*recipe.stop_words}
    own = [*recipe.verbs, *recipe.nouns]
    plain = [word for word in words if word not in known and not any(_is_form(word, term) for term in own)]
    return (phrases or list(dict.fromkeys(plain)))[:MAX_TERMS]


def _unplannable(misfits: Sequence[_Misfit]) -> Unplannable:
    """Return the error: the nearest recipe, what is missing for it, and every other way to a plan."""
    offers = [{**describe(misfit.recipe), "why_not": misfit.why} for misfit in misfits]
    near = min((misfit for misfit in misfits if misfit.lacks), key=lambda one: one.recipe.rank, default=None)
    nearest = f"The nearest is {near.recipe.say!r}: {near.why}. " if near else ""
    others = "; ".join(repr(misfit.recipe.say) for misfit in misfits if misfit is not near)
    return Unplannable(
        f"No recipe fits this goal and no model is configured. {nearest}{' '.join(_ADVICE)} "
        f"{'Other recipes' if near else 'Recipes'}: {others}.",
        details={"recipes": offers, "advice": list(_ADVICE), "nearest": near.recipe.recipe if near else None},
    )
