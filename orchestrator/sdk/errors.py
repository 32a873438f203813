"""The errors that an action raises on purpose, and the faults of functions that can't be actions."""

from collections.abc import Sequence
from dataclasses import dataclass


class Failed(Exception):
    """The action can't do its step: the author's own code and message are the step's error.

    `code` is 1 to 64 of a-z, 0-9 and '_', starting with a letter. Both are shown to whoever reads the task: put no
    secret into them.
    """

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        self.code = str(code)
        self.message = str(message)
        self.retryable = bool(retryable)
        super().__init__(message)


class NeedsReplan(Failed):
    """The plan does not fit what the action found: the step fails, and a model's plan is made again with the message.

    Say what was found and what would fit. A client's or a recipe's plan is not replaced: its task fails.
    """

    def __init__(self, message: str) -> None:
        super().__init__("needs_replan", message)


class Retry(Exception):
    """The action can't do its step now: the step runs again `after` seconds from now or later.

    Each time counts as a failure: after the task's max_retries the message is the step's error.
    """

    def __init__(
        self, message: str = "The action asked to be tried again later.", *, after: float = 1.0
    ) -> None:
        self.message = str(message)
        self.after = float(after)
        super().__init__(message)


class InvalidInputs(Exception):
    """The function's types refuse the inputs; `found` has {field, message} of each fault, without the values."""

    def __init__(self, found: Sequence[dict[str, str]]) -> None:
        self.found = list(found)
        super().__init__("; ".join(f"{one['field']}: {one['message']}" for one in self.found))


class InvalidOutput(Exception):
    """The function returned something else than its return hint says."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one function, where, and what to write instead."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class ContractFault(Exception):
    """Functions of a module can't be actions; `faults` has each, in the order of the file."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(map(str, self.faults)))
