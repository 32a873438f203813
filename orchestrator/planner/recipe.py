"""Makes a plan without a model: by the recipe that the task names, or by the one whose words the goal has."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.models.errors import InvalidInput, InvalidPlan, Unplannable
from orchestrator.models.plan import Plan
from orchestrator.models.task_contract import Attachment, Contract
from orchestrator.models.wording import count_of
from orchestrator.planner.check import PlanOrigin, check_plan
from orchestrator.planner.recipe_reader import NEEDS, PROVIDED, Parameter, Recipe
from orchestrator.planner.recipe_template import TemplateValues, fill, fill_steps
from orchestrator.planner.recipes import describe, find_recipe, read_values, recipes
from orchestrator.safety.archive import is_archive

MAX_TERMS = 12
_QUOTED = re.compile(r'"([^"\n]{1,200})"|“([^”\n]{1,200})”|`([^`\n]{1,200})`')
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")
_QUESTION = "?"
_TABLES = (".csv", ".tsv", ".txt")
_STRUCTURED = (".csv", ".tsv", ".json", ".yaml", ".yml", ".md")
_ADVICE = (
    "Attach the files that the goal names (--attach PATH, or the task's `attachments`), and word the goal as a "
    "recipe does.",
    "Or name a recipe yourself (--recipe NAME; `octollm recipes` lists them).",
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
    return _plan(
        best.recipe, best.filling, contract, attachments=attachments, tenant=tenant, matched=best.matched
    )


def plan_by_name(contract: Contract, attachments: Sequence[Attachment], *, tenant: str | None = None) -> Plan:
    """Return the plan of the recipe that the contract names, filled with the contract's parameters.

    Raises InvalidInput for an unknown recipe, wrong parameters or missing attachments.
    """
    recipe = find_recipe(contract.recipe or "")
    values, wrong = read_values(recipe, contract.parameters)
    if wrong:
        errors = [{"field": f"parameters.{name}", "message": message} for name, message in wrong]
        raise InvalidInput("{field}: {message}".format(**errors[0]), details={"errors": errors})
    files = _file_values(recipe, contract, attachments)
    if isinstance(files, str):
        raise InvalidInput.at("attachments", files)
    filling = _filling(recipe, contract, files, values)
    return _plan(recipe, filling, contract, attachments=attachments, tenant=tenant)


def _plan(
    recipe: Recipe,
    filling: TemplateValues,
    contract: Contract,
    *,
    attachments: Sequence[Attachment],
    tenant: str | None,
    matched: Sequence[str] = (),
) -> Plan:
    """Return the recipe's plan; `matched` are the words that chose it, none if the task names it."""
    why = f"fits by the words {', '.join(matched)}." if matched else "is the one that the task names."
    try:
        steps, result = fill_steps(recipe.steps, filling), fill(recipe.result, filling)
    except ValueError as fault:
        raise InvalidPlan(f"the recipe {recipe.recipe} can't be filled: {fault}") from fault
    return check_plan(
        {"steps": steps, "result": result},
        tenant=tenant,
        attachments=attachments,
        contract=contract,
        is_ours=True,
        origin=PlanOrigin(
            "rules",
            f"Recipe {recipe.recipe} {why}",
            {
                "recipe": recipe.recipe,
                "version": recipe.version,
                "matched": list(matched),
                "filling": filling.to_record(),
                "llm_used": False,
            },
        ),
    )


def _fit(recipe: Recipe, contract: Contract, attachments: Sequence[Attachment]) -> _Fit | _Misfit:
    """Return how the recipe fits the task, or why it does not."""
    words = _goal_words(contract)
    if refused := _present(recipe.unless, words):
        return _Misfit(recipe, f"the goal asks to {refused[0]}, which this recipe can't do without a model")
    if not recipe.verbs:
        return _Misfit(recipe, "no words choose it: name it, octollm run --recipe " + recipe.recipe)
    verbs, nouns = _present(recipe.verbs, words), _present(recipe.nouns, words)
    is_question = _QUESTION in recipe.nouns and contract.goal.rstrip().endswith(_QUESTION)
    if not verbs or not (nouns or is_question):
        kind, known = ("nouns", recipe.nouns) if verbs else ("verbs", recipe.verbs)
        return _Misfit(recipe, f"the goal has none of its {kind} ({', '.join(known)})")
    files = _file_values(recipe, contract, attachments)
    if isinstance(files, str):
        return _Misfit(recipe, files, lacks=True)
    values: dict[str, Any] = {}
    for one in recipe.parameters:
        value = _taken(one, recipe, contract.goal, words)
        if value is None and one.is_required:
            return _Misfit(recipe, _lack(one), lacks=True)
        if value is not None or one.default is not None:
            values[one.name] = one.default if value is None else value
    matched = tuple(dict.fromkeys([*verbs, *nouns, *_present(recipe.extras, words)]))
    return _Fit(recipe, matched, _filling(recipe, contract, files, values))


def _filling(
    recipe: Recipe, contract: Contract, files: TemplateValues, values: dict[str, Any]
) -> TemplateValues:
    absent = frozenset(one.name for one in recipe.parameters) - values.keys()
    return TemplateValues({"goal": contract.goal, **files.values, **values}, files.groups, absent)


def _taken(parameter: Parameter, recipe: Recipe, goal: str, words: Sequence[str]) -> Any:
    """Return the value of a parameter that the goal's words give, or None."""
    quoted = [phrase for groups in _QUOTED.findall(goal) if (phrase := "".join(groups).strip())]
    if parameter.from_goal == "terms":
        return " ".join(_terms(recipe, quoted, words)) or None
    if parameter.from_goal == "phrase":
        return quoted[0] if quoted else None
    if parameter.from_goal == "phrases":
        return quoted or None
    if parameter.from_goal == "choice":
        named = [word for word in words if word in parameter.schema.get("enum", ())]
        return named[-1] if named else None
    return None


def _lack(parameter: Parameter) -> str:
    if parameter.from_goal in ("terms", "phrase", "phrases"):
        return 'the goal names nothing to look for; put it in quotes: find "late delivery" in the files'
    choices = ", ".join(map(str, parameter.schema.get("enum", ())))
    return (
        f"the goal does not say {parameter.description or parameter.name}{f': {choices}' if choices else ''}"
    )


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
    is_searched = any(one.from_goal == "terms" for one in recipe.parameters)
    has_quotes = bool(_QUOTED.search(contract.goal))
    if has_quotes != is_searched and not (has_quotes and recipe.takes_quotes):
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


def _file_values(
    recipe: Recipe, contract: Contract, attachments: Sequence[Attachment]
) -> TemplateValues | str:
    """Return the values that the attachments give to the recipe's templates, or what is missing."""
    if recipe.needs == "nothing":
        return TemplateValues()
    if recipe.needs == "script":
        return _script_values(attachments)
    if recipe.needs == "text":
        if attachments or contract.context:
            return TemplateValues()
        return f"it needs {NEEDS['text']}, and there are none: attach a file"
    fitting = [item for item in attachments if _is_for(item, recipe.needs)]
    wanted = PROVIDED[recipe.needs]
    if len(fitting) != len(wanted):
        fewer = "attach a package" if recipe.needs == "package" else "attach what is missing"
        more = "attach only the one to work on" if len(wanted) == 1 else "attach only the two"
        advice = fewer if len(fitting) < len(wanted) else more
        return f"it needs {NEEDS[recipe.needs]}; there are {len(fitting)}: {advice}"
    return TemplateValues({name: item.sha256 for name, item in zip(wanted, fitting, strict=True)})


def _is_for(attachment: Attachment, need: str) -> bool:
    """Tell whether an attachment is of the kind that a recipe needs."""
    name = attachment.filename.lower()
    endings = {"tables": _TABLES, "table": _STRUCTURED}
    if need == "package":
        return is_archive(attachment.filename) or name.endswith(".py")
    return need not in endings or name.endswith(endings[need])


def _script_values(attachments: Sequence[Attachment]) -> TemplateValues | str:
    """Return the script, the group of its inputs, and the group of the inputs that have an expected output."""
    scripts = [item for item in attachments if item.filename.endswith(".py")]
    expected = {item.filename: item for item in attachments if item.filename.endswith(_EXPECTED)}
    inputs = [item for item in attachments if item not in scripts and item.filename not in expected]
    if len(scripts) != 1 or not inputs or any(is_archive(item.filename) for item in inputs):
        found = f"{count_of(len(scripts), 'script')} and {count_of(len(inputs), 'input')}"
        return f"it needs {NEEDS['script']}; attached are {found}"
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


def _terms(recipe: Recipe, quoted: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return the goal's quoted phrases, or without any its words except verbs, nouns and stop words."""
    phrases = [f'"{phrase}"' for phrase in quoted]
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
