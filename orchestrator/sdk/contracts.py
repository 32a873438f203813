"""Derives the contracts of a module's actions from the hints and docstrings of its functions."""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final, NotRequired, Required, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic_core import PydanticSerializationError, to_jsonable_python
from typing_extensions import TypedDict

from orchestrator.sdk.action import MARK, ActionOptions
from orchestrator.sdk.context import Context
from orchestrator.sdk.docstring import Docstring, read_docstring
from orchestrator.sdk.errors import ContractFault, Fault
from orchestrator.sdk.schemas import UnsupportedType, adapter_of, schema_of

WRAPPED: Final = "value"
"""The member of the output that holds a value which is not an object."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ARTIFACT: Final = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
# members of a step's inputs that the engine reads itself
_TAKEN: Final = ("action", "attachment", "attachments", "check", "checks")
_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "effects": ("none", "read", "write"),
    "attachments": ("none", "one", "any"),
    "approval": (None, "ask", "never"),
}


@dataclass(frozen=True)
class FunctionAction:
    """A function as an action: `record` is its entry in a manifest, with schemas.

    `context_name` is the parameter that gets the Context, None if there is none. `is_wrapped`: the output is the
    function's value as the member WRAPPED of an object.
    """

    name: str
    function: Callable[..., Any]
    record: dict[str, Any]
    inputs: TypeAdapter[Any]
    output: TypeAdapter[Any]
    is_wrapped: bool
    context_name: str | None


def actions_of(module: str, directory: Path | None = None) -> dict[str, dict[str, Any]]:
    """Import a module and return {name: record} of its actions, in the order of their definition.

    A record has what a manifest's action has, and `input_schema` and `output_schema`. With `directory`, which sys.path
    names, the module must come from there. Raises ContractFault, and what the import of the module raises.
    """
    found = _imported(module, directory)
    file = Path(found.__file__ or "")
    if directory is not None and directory.resolve() not in file.resolve().parents:
        raise ContractFault(
            [
                Fault(
                    str(directory),
                    1,
                    f"the module {module!r} is imported from {file.parent.name}/{file.name}, not from here: another "
                    "module has that name, give this one a name of its own",
                )
            ]
        )
    return {name: action.record for name, action in functions_of(found).items()}


def _imported(module: str, directory: Path | None) -> ModuleType:
    """Import a module; raises ContractFault for an error that a line of the directory's own files raises."""
    try:
        return import_module(module)
    except ImportError:
        # a library that is missing here, which is no fault of the file
        raise
    except Exception as error:
        place = _raised_at(error, directory) if directory else None
        if place is None:
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise ContractFault([Fault(*place, f"{type(error).__name__}: {reason:.300}")]) from error


def _raised_at(error: Exception, directory: Path) -> tuple[str, int] | None:
    """Return file and line of the innermost place in the directory's files, where an import failed."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno or 1
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if directory.resolve() in Path(frame.filename).resolve().parents
    ]
    return (frames[-1].filename, frames[-1].lineno or 1) if frames else None


def functions_of(module: ModuleType) -> dict[str, FunctionAction]:
    """Return the module's actions by name; raises ContractFault, which names every fault found."""
    found: dict[str, FunctionAction] = {}
    faults: list[Fault] = []
    marked = {id(one): one for one in vars(module).values() if hasattr(one, MARK)}
    for function in marked.values():
        reader = _Reader(function)
        action = reader.read()
        if action is not None and action.name in found:
            reader.add(f"there are two actions {action.name!r}: give one another name, @action(name=...)")
        elif action is not None:
            found[action.name] = action
        faults += reader.faults
    if not marked:
        faults.append(
            Fault(
                module.__file__ or module.__name__,
                1,
                "no function has @action: from orchestrator.sdk import action",
            )
        )
    if faults:
        raise ContractFault(faults)
    return found


class _Reader:
    """Reads one function; gathers what is wrong with it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.faults: list[Fault] = []
        self._function = function
        self._options: ActionOptions = getattr(function, MARK)
        self._name = self._options.name or getattr(function, "__name__", "?")
        self._docstring = read_docstring(function.__doc__)
        self._file, self._line = _place_of(function)

    def add(self, message: str) -> None:
        self.faults.append(Fault(self._file, self._line, f"action {self._name}: {message}"))

    def read(self) -> FunctionAction | None:
        """Return the action; None if anything is wrong with it."""
        self._check_options()
        hints = self._hints()
        if hints is None:
            return None
        context_name = next((name for name, hint in hints.items() if _is_context(hint)), None)
        inputs = self._inputs(hints)
        output = self._output(hints)
        if inputs is None or output is None or self.faults:
            return None
        adapter, schema = output
        is_wrapped = schema.get("type") != "object"
        record = {
            **self._stated(),
            "input_schema": {**inputs[1], "properties": {**inputs[1]["properties"], **self._files()}},
            "output_schema": _wrapped(schema) if is_wrapped else schema,
        }
        return FunctionAction(
            self._name, self._function, record, inputs[0], adapter, is_wrapped, context_name
        )

    def _check_options(self) -> None:
        options = self._options
        if not _NAME.fullmatch(self._name):
            self.add(
                "a name is 1 to 64 of a-z, 0-9 and '_', starting with a letter: rename it, or @action(name=\"...\")"
            )
        for option, choices in _CHOICES.items():
            if getattr(options, option) not in choices:
                shown = ", ".join(repr(choice) for choice in choices if choice)
                self.add(f"{option} must be one of {shown}, not {getattr(options, option)!r}")
        if not isinstance(options.timeout_seconds, int | float) or not options.timeout_seconds > 0:
            self.add(f"timeout_seconds must be a number above 0, not {options.timeout_seconds!r}")
        if isinstance(options.capabilities, str):
            self.add(f"capabilities must be a list: capabilities=[{options.capabilities!r}]")
        if not self._description():
            self.add('it needs a description: write a docstring, """What it does, in a sentence."""')

    def _description(self) -> str:
        return " ".join((self._options.description or self._docstring.description).split())

    def _stated(self) -> dict[str, Any]:
        options = self._options
        writes = options.effects == "write"
        max_age = options.max_age_seconds
        if max_age is None and options.effects != "none":
            # what was read from the world may have changed
            max_age = 0
        return {
            "description": self._description(),
            "capabilities": list(options.capabilities or [self._name]),
            "effects": options.effects,
            "idempotent": not writes if options.idempotent is None else options.idempotent,
            "deterministic": not options.least_tokens
            if options.deterministic is None
            else options.deterministic,
            "attachments": options.attachments,
            "timeout_seconds": float(options.timeout_seconds),
            "max_age_seconds": max_age,
            "least_tokens": options.least_tokens,
            "approval": options.approval,
        }

    def _hints(self) -> dict[str, Any] | None:
        if not inspect.isfunction(inspect.unwrap(self._function)):
            self.add("only a function can be an action: write def or async def below @action")
            return None
        if inspect.isgeneratorfunction(self._function) or inspect.isasyncgenfunction(self._function):
            self.add("it yields: return a list of all values instead")
        try:
            return get_type_hints(self._function, include_extras=True)
        except NameError as error:
            self.add(
                f"the hint {error.name!r} is not defined when the module is loaded: import it at the top, not below "
                "TYPE_CHECKING, and define types outside of functions"
            )
        except TypeError as error:
            self.add(f"its hints can't be read: {error}")
        return None

    def _inputs(self, hints: Mapping[str, Any]) -> tuple[TypeAdapter[Any], dict[str, Any]] | None:
        members: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        for parameter in inspect.signature(self._function).parameters.values():
            if not self._is_input(parameter, hints):
                continue
            described = _described(hints[parameter.name], self._docstring, parameter.name)
            self._check_type(described, f"the parameter {parameter.name}")
            is_required = parameter.default is parameter.empty
            members[parameter.name] = (Required if is_required else NotRequired)[described]
            if not is_required:
                defaults |= _jsonable(parameter.name, parameter.default)
        for name in self._docstring.parameters.keys() - inspect.signature(self._function).parameters.keys():
            self.add(f"the docstring describes {name!r}, which is no parameter")
        if self.faults:
            return None
        # a TypedDict, unlike a model, allows members of any name, and knows which ones were given
        kind = cast("Any", TypedDict)("Inputs", members)
        kind.__pydantic_config__ = ConfigDict(extra="forbid")
        adapter = adapter_of(kind)
        try:
            schema = schema_of(adapter, "validation")
        except UnsupportedType as error:
            self.add(f"its parameters together: {error}")
            return None
        for name, default in defaults.items():
            schema["properties"][name]["default"] = default
        return adapter, {"required": [], **schema}

    def _is_input(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
        name = parameter.name
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            self.add(f"*{name} can't be an input: write each parameter with its name and type")
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            self.add(f"the parameter {name} is before a '/': inputs are given by name, leave the '/' out")
        elif name not in hints:
            self.add(f"the parameter {name} has no type: write {name}: str, or whatever it is")
        elif _is_context(hints[name]):
            return False
        elif name in _TAKEN:
            advice = ', and say @action(attachments="one") or "any"' if name.startswith("attach") else ""
            self.add(
                f"the input name {name!r} has a meaning of its own in plans: rename the parameter{advice}"
            )
        else:
            return True
        return False

    def _output(self, hints: Mapping[str, Any]) -> tuple[TypeAdapter[Any], dict[str, Any]] | None:
        if "return" not in hints:
            self.add("it has no return type: write -> str, or whatever it returns, after the parentheses")
            return None
        return self._check_type(hints["return"], "the return type", mode="serialization")

    def _check_type(
        self, hint: Any, what: str, *, mode: Any = "validation"
    ) -> tuple[TypeAdapter[Any], dict[str, Any]] | None:
        try:
            adapter = adapter_of(hint)
            return adapter, schema_of(adapter, mode)
        except UnsupportedType as error:
            self.add(
                f"{what} can't be written in JSON ({error}): take str, int, float, bool, list, dict, Literal, an Enum, "
                "a dataclass, a TypedDict or a pydantic model"
            )
            return None

    def _files(self) -> dict[str, Any]:
        """Return the inputs by which a step chooses among the task's files."""
        match self._options.attachments:
            case "one":
                text = "artifact id; default: the task's only attachment"
                return {"attachment": {**_ARTIFACT, "description": text}}
            case "any":
                text = "artifact ids; default: all of the task's attachments"
                chosen = {"type": "array", "items": dict(_ARTIFACT), "minItems": 1, "maxItems": 20}
                return {"attachments": {**chosen, "description": text}}
        return {}


def _described(hint: Any, docstring: Docstring, name: str) -> Any:
    text = docstring.parameters.get(name)
    if not text or _has_description(hint):
        return hint
    return Annotated[hint, Field(description=text)]


def _has_description(hint: Any) -> bool:
    return any(getattr(extra, "description", None) for extra in _extras(hint))


def _extras(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        yield from get_args(hint)[1:]


def _is_context(hint: Any) -> bool:
    inner = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    return inner is Context or (Context in get_args(inner) and type(None) in get_args(inner))


def _jsonable(name: str, default: Any) -> dict[str, Any]:
    """Return {name: default} in JSON, or {} for a default that JSON lacks."""
    if isinstance(default, set | frozenset):
        # its order varies between processes, whose contracts must be equal
        default = sorted(default, key=repr)
    try:
        return {name: to_jsonable_python(default, inf_nan_mode="strings")}
    except PydanticSerializationError:
        return {}


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {WRAPPED: schema},
        "required": [WRAPPED],
        "additionalProperties": False,
    }


def _place_of(function: Callable[..., Any]) -> tuple[str, int]:
    """Return the file of a function and the line of its `def`; the class' module for anything else."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return str(getattr(function, "__module__", "?")), 1
    line = code.co_firstlineno
    for number in range(line, line + 60):
        if re.match(r"\s*(async\s+)?def\s", linecache.getline(code.co_filename, number)):
            return code.co_filename, number
    return code.co_filename, line
