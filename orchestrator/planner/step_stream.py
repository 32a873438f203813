"""Reads the steps of a plan out of a model's answer while it is written."""

import re

MAX_CHARACTERS = 2**18
"""How much of an answer is read; a longer one begins no more steps early."""
_LONGEST_NAME = 32
_STEPS = '"steps"'
# in a string: its end, or an escaped character; elsewhere: what opens or closes something
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\],]')
_OPENING = re.compile(r"<\s{0,9}(?:think|thinking|reasoning|thought|thoughts)\s{0,9}>", re.IGNORECASE)
_CLOSING = re.compile(r"<\s{0,9}/\s{0,9}(?:think|thinking|reasoning|thought|thoughts)\s{0,9}>", re.IGNORECASE)
_LONGEST_TAG = 64


class StepStream:
    """One answer, to which parts are added as they come; prose, code fences and leading reasoning are passed over.

    It finds where a step ends and does not check it: the text of an object in the array `steps` of the answer's object.
    Takes linear time in all.
    """

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._is_reasoning = False
        # the last string in the answer's object, with its quotes; the array `steps` begins after that name
        self._name = ""
        self._in_steps = False
        # the parts of the current step; None outside of a step
        self._step: list[str] | None = None
        self._before = ""

    def add(self, text: str) -> list[str]:
        """Add the next part of the answer; return the texts of the steps that end in it."""
        text, self._left = text[: self._left], max(0, self._left - len(text))
        found: list[str] = []
        at = self._past_reasoning(text) if self._depth == 0 else 0
        while at < len(text):
            at = self._read_string(text, at) if self._in_string else self._read_outside(text, at, found)
        return found

    def _past_reasoning(self, text: str) -> int:
        """Return where the text goes on after reasoning, which begins and ends with a tag, perhaps of two parts."""
        known = len(self._before)
        both = self._before + text
        self._before = both[-_LONGEST_TAG:]
        at = 0
        while tag := (_CLOSING if self._is_reasoning else _OPENING).search(both, at):
            if not self._is_reasoning and "{" in both[known : tag.start()]:
                break
            self._is_reasoning, at = not self._is_reasoning, tag.end()
            self._before = both[max(at, len(both) - _LONGEST_TAG) :]
        return len(text) if self._is_reasoning else max(0, at - known)

    def _read_string(self, text: str, at: int) -> int:
        """Read up to the end of a string or of the text; return where to go on."""
        if self._is_escaped:
            self._is_escaped = False
            self._keep(text[at])
            return at + 1
        found = _IN_STRING.search(text, at)
        end = found.end() if found else len(text)
        self._keep(text[at:end])
        if found:
            self._is_escaped = found[0] == "\\"
            self._in_string = self._is_escaped
        return end

    def _read_outside(self, text: str, at: int, found: list[str]) -> int:
        """Read up to the next string, bracket or comma; return where to go on."""
        next_one = _OUTSIDE.search(text, at)
        end = next_one.end() if next_one else len(text)
        if self._step is not None:
            self._step.append(text[at:end])
        if next_one is None:
            return end
        match next_one[0]:
            case '"' if self._depth:
                self._in_string = True
                self._name = '"' if self._depth == 1 else self._name
            case "{" | "[" as one:
                self._open(one)
            case "}" | "]" if self._depth:
                self._close(found)
            case "," if self._depth == 1:
                self._name = ""
        return end

    def _open(self, one: str) -> None:
        if self._depth == 0 and one == "[":
            # the answer is an object
            return
        if self._depth == 1:
            self._in_steps = one == "[" and self._name == _STEPS
        if self._depth == 2 and self._in_steps and one == "{":
            self._step = [one]
        self._depth += 1

    def _close(self, found: list[str]) -> None:
        self._depth -= 1
        if self._depth == 2 and self._step is not None:
            found.append("".join(self._step))
            self._step = None
        elif self._depth < 2:
            self._in_steps, self._name = False, ""

    def _keep(self, part: str) -> None:
        if self._step is not None:
            self._step.append(part)
        elif self._depth == 1 and len(self._name) < _LONGEST_NAME:
            self._name += part[:_LONGEST_NAME]
