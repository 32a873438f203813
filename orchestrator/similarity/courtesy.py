"""Greetings, pleas and thanks, which ask for nothing of their own."""

from collections.abc import Sequence

from orchestrator.similarity.token import Kind, Token
from orchestrator.similarity.words import phrases, words

_PLEAS = words("politeness", "please") | {"kindly"}
_PLEASE_KEPT_AFTER = words("politeness", "please_kept_after")
_PLEASE_ENDS_AFTER = words("politeness", "please_ends_after")
_PLEA_AFTER = words("politeness", "plea_after")
_PLEA_BEFORE = words("politeness", "plea_before") | _PLEAS
_NOT_ORDERED = words("politeness", "not_ordered")
_KINDLY_AFTER = words("politeness", "kindly_after")
_GREETINGS = phrases("politeness", "greetings")
_BARE_GREETINGS = words("politeness", "bare_greetings")
_LEADS = phrases("politeness", "leads")
_THANKS = phrases("politeness", "thanks", by=-1)
_BARE_THANKS = words("politeness", "bare_thanks")
_THANKS_KEPT_AFTER = words("politeness", "thanks_kept_after")
_ASKED = words("politeness", "asked")
_ASKED_ABOUT_ONE = words("politeness", "asked_about_one")
_DEFINITE = words("politeness", "definite")
_ADDRESSED = words("politeness", "addressed") | _ASKED | _ASKED_ABOUT_ONE
_CAN = frozenset(("can", "could"))
_WILL = frozenset(("will", "would"))
_NOT_ASKED_BY_WOULD = words("politeness", "not_asked_by_would")
_MARKS_OF_ONE = frozenset("/\\_.:#@")


def without_courtesy(tokens: Sequence[Token]) -> list[Token]:
    """Drop courtesy from the start, the end and the middle; "could you list" becomes "list"."""
    begin, pleaded = _begin(tokens)
    end = _end(tokens, begin)
    kept = [
        token for place, token in enumerate(tokens[:end]) if place >= begin and not _is_plea(tokens, place)
    ]
    return _order(kept, pleaded=pleaded or len(kept) < end - begin)


def starts_with(tokens: Sequence[Token], place: int, phrase: Sequence[str]) -> bool:
    """Tell whether the words of `phrase` stand at `place`."""
    found = tokens[place : place + len(phrase)]
    return len(found) == len(phrase) and all(
        token.kind is Kind.WORD and token.text == word for token, word in zip(found, phrase, strict=True)
    )


def _begin(tokens: Sequence[Token]) -> tuple[int, bool]:
    begin, pleaded = 0, False
    while begin < len(tokens):
        if step := _greeting(tokens, begin):
            begin += step
        elif _is_plea(tokens, begin):
            begin, pleaded = begin + 1, True
        elif step := _lead(tokens, begin):
            begin, pleaded = begin + step, True
        else:
            break
    return begin, pleaded


def _lead(tokens: Sequence[Token], place: int) -> int:
    for lead in _LEADS.get(tokens[place].text, ()):
        after = place + len(lead)
        if starts_with(tokens, place, lead):
            return len(lead) if _is_ordered(tokens, after) else 0
    return 0


def _is_ordered(tokens: Sequence[Token], place: int) -> bool:
    verb = tokens[place].text if place < len(tokens) else ""
    return verb not in _NOT_ORDERED or (verb in _ASKED_ABOUT_ONE and _is_about_one(tokens[place:]))


def _greeting(tokens: Sequence[Token], place: int) -> int:
    for greeting in _GREETINGS.get(tokens[place].text, ()):
        after = place + len(greeting)
        if starts_with(tokens, place, greeting) and after < len(tokens):
            then = tokens[after]
            is_parted = then.pause and then.text != "world"
            is_bare = greeting[0] in _BARE_GREETINGS and then.text in _ADDRESSED
            return len(greeting) if is_parted or is_bare else 0
    return 0


def _is_plea(tokens: Sequence[Token], place: int) -> bool:
    token = tokens[place]
    if token.kind is not Kind.WORD or token.text not in _PLEAS:
        return False
    before = tokens[place - 1].text if place and not token.pause else ""
    if token.text == "kindly":
        return not before or before in _KINDLY_AFTER
    then = tokens[place + 1] if place + 1 < len(tokens) else None
    is_at_edge = (
        not before or then is None or then.pause or before in _PLEA_AFTER or then.text in _PLEA_BEFORE
    )
    is_meant = before in _PLEASE_KEPT_AFTER and not (then is None and before in _PLEASE_ENDS_AFTER)
    return is_at_edge and not is_meant


def _end(tokens: Sequence[Token], begin: int) -> int:
    end = len(tokens)
    while end > begin and (step := _thanks(tokens, begin, end)):
        end -= step
    return end


def _thanks(tokens: Sequence[Token], begin: int, end: int) -> int:
    for phrase in _THANKS.get(tokens[end - 1].text, ()):
        place = end - len(phrase)
        if place < begin or not starts_with(tokens, place, phrase):
            continue
        before = tokens[place - 1].text if place else ""
        if tokens[place].pause or (phrase[0] in _BARE_THANKS and before not in _THANKS_KEPT_AFTER):
            return len(phrase)
    return 0


def _order(tokens: list[Token], *, pleaded: bool) -> list[Token]:
    if len(tokens) < 3 or tokens[1].text != "you" or tokens[0].text not in _CAN | _WILL:
        return tokens
    verb = tokens[2].text
    if pleaded:
        is_order = verb != "not"
    elif tokens[0].text in _WILL and verb in _NOT_ASKED_BY_WOULD:
        is_order = False
    else:
        is_order = verb in _ASKED or (verb in _ASKED_ABOUT_ONE and _is_about_one(tokens[2:]))
    return tokens[2:] if is_order else tokens


def _is_about_one(tokens: Sequence[Token]) -> bool:
    """Tell whether the verb that comes first is said of one known thing."""
    return (len(tokens) > 1 and tokens[1].text in _DEFINITE) or any(map(_names_one, tokens))


def _names_one(token: Token) -> bool:
    if token.kind is Kind.ID:
        return not _MARKS_OF_ONE.isdisjoint(token.text)
    return token.kind in (Kind.QUOTE, Kind.CODE)
