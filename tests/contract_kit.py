"""Modules of a test's own source text whose functions may be actions, and what their contracts say."""

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.sdk.contracts import functions_of
from orchestrator.sdk.errors import ContractFault

_numbers = itertools.count()


HEAD = """\
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NotRequired
from typing_extensions import TypedDict
from pydantic import BaseModel, Field
from orchestrator.sdk import Context, action

class Color(Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Point:
    x: int
    y: float = 1.5

class Place(TypedDict):
    name: str
    at: NotRequired[Point]

class Order(BaseModel):
    item: Annotated[str, Field(max_length=5)]
    at: Point | None = None

class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int

class Dog(BaseModel):
    kind: Literal["dog"]

class Tree(BaseModel):
    children: list["Tree"] = []

"""


def load(directory: Path, text: str, *, head: str = HEAD) -> ModuleType:
    """Write a module below `directory` and import it."""
    name = f"arm_of_test_{next(_numbers)}"
    path = directory / f"{name}.py"
    path.write_text(head + text)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def contract(
    directory: Path, parameters: str = "", *, returns: str = "str", given: str = ""
) -> dict[str, Any]:
    """Return the record of an action with these parameters and this return type."""
    text = f'@action(effects="none"{given})\ndef act({parameters}) -> {returns}:\n    """Acts."""\n'
    return functions_of(load(directory, text))["act"].record


def messages(directory: Path, text: str) -> list[str]:
    """Return the faults of a module as file:line: message, with the file's name alone."""
    with pytest.raises(ContractFault) as found:
        functions_of(load(directory, text))
    return [f"line {fault.line - HEAD.count(chr(10))}: {fault.message}" for fault in found.value.faults]
