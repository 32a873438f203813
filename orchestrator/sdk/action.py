"""`@action`: marks a typed function as an action of an arm, and says what an engine must know about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

MARK = "__octollm_action__"

Effects = Literal["none", "read", "write"]
Attachments = Literal["none", "one", "any"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class ActionOptions:
    """The arguments of `@action`; None where the author left one out."""

    effects: Any
    name: str | None
    description: str | None
    idempotent: bool | None
    deterministic: bool | None
    attachments: Any
    timeout_seconds: Any
    capabilities: Sequence[str] | None
    max_age_seconds: int | None
    least_tokens: int
    approval: str | None


def action(
    _function: None = None,
    /,
    *,
    effects: Effects | None = None,
    name: str | None = None,
    description: str | None = None,
    idempotent: bool | None = None,
    deterministic: bool | None = None,
    attachments: Attachments = "none",
    timeout_seconds: float = 60.0,
    capabilities: Sequence[str] | None = None,
    max_age_seconds: int | None = None,
    least_tokens: int = 0,
    approval: Literal["ask", "never"] | None = None,
) -> Callable[[_Function], _Function]:
    """Make a function an action; the function itself stays as it is, and a test may call it.

    `effects` must be stated: "none" computes from its inputs only, "read" looks at the world, "write" changes it.
    `idempotent`: a second run does no harm; default: true unless it writes. `max_age_seconds`: how long a result may be
    used again for the same inputs; default: always for effects "none", else never. `deterministic`: the same inputs
    give the same output; default: true, unless it has `least_tokens`. `attachments`: "one" or "any" of the task's files
    are read. `timeout_seconds` is the limit of one attempt. `capabilities` are words that a plan may ask for instead of
    the name; default: the name. `least_tokens`: the fewest tokens that the function's questions to a model need.
    `approval`: "ask" (a person approves every step) or "never"; default: the operator's policy decides. `name` and
    `description` default to the function's name and the first paragraph of its docstring.
    """
    if _function is not None:
        raise TypeError('write @action(effects="none"), with parentheses')
    options = ActionOptions(
        effects=effects,
        name=name,
        description=description,
        idempotent=idempotent,
        deterministic=deterministic,
        attachments=attachments,
        timeout_seconds=timeout_seconds,
        capabilities=capabilities,
        max_age_seconds=max_age_seconds,
        least_tokens=least_tokens,
        approval=approval,
    )

    def mark(function: _Function) -> _Function:
        setattr(function, MARK, options)
        return function

    return mark
