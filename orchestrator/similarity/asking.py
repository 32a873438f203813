"""The many ways of asking how something is done, made one."""

from collections.abc import Sequence

from orchestrator.similarity.courtesy import starts_with
from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import phrases, words

_PERSONAL = words("asking", "personal")
_ABOUT_MYSELF = words("asking", "about_myself")
_ABOUT_ME = words("asking", "about_me")
_ABOUT_YOU = words("asking", "about_you")
_ABOUT_ANYONE = _ABOUT_ME | _ABOUT_YOU
_INTRODUCTIONS = phrases("asking", "introductions")
_QUESTIONS = frozenset(("how", "what", "where", "when", "why", "who", "which"))
_ME = frozenset(("i", "we"))
_ANYONE = _ME | {"you", "one"}
_HOW = "how-to"
_NOBODY = ""


def asked_alike(tokens: Sequence[Token]) -> list[Token]:
    """Make "how do I", "how can you", "how to" one token, and "could you" "can you".

    Who does it stays where it matters: "how do you contact me" is not "how do I contact me".
    """
    named_after = _named_after(tokens)
    asked: list[Token] = []
    place = 0
    while place < len(tokens):
        length, subject = _how(tokens, place)
        if length and _is_generic(subject, tokens[place + length : place + length + 2]):
            asked.append(tokens[place]._replace(text=_HOW))
            asked += _doer(subject, named_after[place + length])
            place += length
        else:
            asked.append(_softened(tokens, place))
            place += 1
    return _introduced(asked)


def _named_after(tokens: Sequence[Token]) -> Sequence[frozenset[str]]:
    """Return for each place which words for me and you stand there or later."""
    named: list[frozenset[str]] = [frozenset()]
    for token in reversed(tokens):
        is_new = token.text in _ABOUT_ANYONE and token.text not in named[-1]
        named.append(named[-1] | {token.text} if is_new else named[-1])
    return named[::-1]


def _how(tokens: Sequence[Token], place: int) -> tuple[int, str]:
    """Return how many tokens ask for the way at `place`, 0 if none do, and who is to go it."""
    asked = tuple(token.text for token in tokens[place : place + 3])
    if asked[:2] == ("how", "to"):
        return 2, _NOBODY
    match asked:
        case ("how", "do" | "can", ("i" | "we" | "you" | "one") as subject):
            return 3, subject
        case ("how", "does", "one") | ("how", "could", "i" | "we" | "one"):
            return 3, asked[2]
        case ("how", ("i" | "we" | "you" | "one") as subject, "can"):
            return 3, subject
    return 0, _NOBODY


def _is_generic(subject: str, then: Sequence[Token]) -> bool:
    if not then or then[0].kind is not Kind.WORD:
        return False
    verb = then[0].text
    if verb == "not" or (verb == "do" and len(then) == 1):
        return False
    if subject == "you":
        return verb not in _PERSONAL and len(then) > 1
    return subject == _NOBODY or verb not in _ABOUT_MYSELF


def _doer(subject: str, named: frozenset[str]) -> list[Token]:
    if (subject in _ME and named & _ABOUT_YOU) or (subject == "you" and named & _ABOUT_ME):
        return [Token(Kind.WORD, subject, subject)]
    return []


def _softened(tokens: Sequence[Token], place: int) -> Token:
    token = tokens[place]
    if token.text != "could" or place + 2 >= len(tokens) or tokens[place + 1].text not in _ANYONE:
        return token
    asks = place == 0 or tokens[place - 1].text in _QUESTIONS
    return token._replace(text="can") if asks and tokens[place + 2].text not in ("not", "have") else token


def _introduced(tokens: list[Token]) -> list[Token]:
    for introduction in _INTRODUCTIONS.get(tokens[0].text, ()) if tokens else ():
        after = len(introduction)
        if starts_with(tokens, 0, introduction) and after < len(tokens) and tokens[after].text == _HOW:
            return tokens[after:]
    return tokens
