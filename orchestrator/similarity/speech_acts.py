"""Normalizes speech acts: removes greetings, pleas and thanks, makes polite questions imperative, unifies "how to"."""

from collections.abc import Sequence

from orchestrator.similarity.lexicon import phrases, words
from orchestrator.similarity.tokens import Kind, Token

_PLEAS = words("politeness", "please") | {"kindly"}
_PLEASE_KEPT_AFTER = words("politeness", "please_kept_after")
_PLEASE_ENDS_AFTER = words("politeness", "please_ends_after")
_PLEA_AFTER = words("politeness", "plea_after")
_PLEA_BEFORE = words("politeness", "plea_before") | _PLEAS
_NOT_REQUESTED = words("politeness", "not_requested")
_KINDLY_AFTER = words("politeness", "kindly_after")
_GREETINGS = phrases("politeness", "greetings")
_BARE_GREETINGS = words("politeness", "bare_greetings")
_REQUEST_OPENINGS = phrases("politeness", "request_openings")
_THANKS = phrases("politeness", "thanks", by=-1)
_BARE_THANKS = words("politeness", "bare_thanks")
_THANKS_KEPT_AFTER = words("politeness", "thanks_kept_after")
_REQUEST_VERBS = words("politeness", "request_verbs")
_VERBS_WITH_SPECIFIC_OBJECT = words("politeness", "request_verbs_with_specific_object")
_DEFINITE_DETERMINERS = words("politeness", "definite_determiners")
_AFTER_BARE_GREETING = (
    words("politeness", "after_bare_greeting") | _REQUEST_VERBS | _VERBS_WITH_SPECIFIC_OBJECT
)
_CAN = frozenset(("can", "could"))
_WILL = frozenset(("will", "would"))
_OPINION_VERBS = words("politeness", "opinion_verbs")
_IDENTIFIER_MARKS = frozenset("/\\_.:#@")
_VERBS_ABOUT_YOU = words("question", "verbs_about_you")
_VERBS_ABOUT_ME = words("question", "verbs_about_me")
_FIRST_PERSON = words("question", "first_person")
_SECOND_PERSON = words("question", "second_person")
_PERSONS = _FIRST_PERSON | _SECOND_PERSON
_INTRODUCTIONS = phrases("question", "introductions")
_QUESTIONS = frozenset(("how", "what", "where", "when", "why", "who", "which"))
_SPEAKER = frozenset(("i", "we"))
_GENERIC_SUBJECTS = _SPEAKER | {"you", "one"}
_HOW = "how-to"
_NO_SUBJECT = ""


def remove_politeness(tokens: Sequence[Token]) -> list[Token]:
    """Remove greetings, pleas and thanks; "could you list" becomes "list"."""
    begin, is_polite = _skip_opening(tokens)
    end = _skip_closing(tokens, begin)
    kept = [
        token for index, token in enumerate(tokens[:end]) if index >= begin and not _is_plea(tokens, index)
    ]
    return _to_imperative(kept, is_polite=is_polite or len(kept) < end - begin)


def starts_with(tokens: Sequence[Token], index: int, phrase: Sequence[str]) -> bool:
    """Return whether the tokens at `index` are the words of `phrase`."""
    found = tokens[index : index + len(phrase)]
    return len(found) == len(phrase) and all(
        token.kind is Kind.WORD and token.text == word for token, word in zip(found, phrase, strict=True)
    )


def _skip_opening(tokens: Sequence[Token]) -> tuple[int, bool]:
    begin, is_polite = 0, False
    while begin < len(tokens):
        if step := _greeting_length(tokens, begin):
            begin += step
        elif _is_plea(tokens, begin):
            begin, is_polite = begin + 1, True
        elif step := _opening_length(tokens, begin):
            begin, is_polite = begin + step, True
        else:
            break
    return begin, is_polite


def _opening_length(tokens: Sequence[Token], index: int) -> int:
    for opening in _REQUEST_OPENINGS.get(tokens[index].text, ()):
        after = index + len(opening)
        if starts_with(tokens, index, opening):
            return len(opening) if _is_request(tokens, after) else 0
    return 0


def _is_request(tokens: Sequence[Token], index: int) -> bool:
    verb = tokens[index].text if index < len(tokens) else ""
    return verb not in _NOT_REQUESTED or (
        verb in _VERBS_WITH_SPECIFIC_OBJECT and _has_specific_object(tokens[index:])
    )


def _greeting_length(tokens: Sequence[Token], index: int) -> int:
    for greeting in _GREETINGS.get(tokens[index].text, ()):
        after = index + len(greeting)
        if starts_with(tokens, index, greeting) and after < len(tokens):
            then = tokens[after]
            is_parted = then.after_break and then.text != "world"
            is_bare = greeting[0] in _BARE_GREETINGS and then.text in _AFTER_BARE_GREETING
            return len(greeting) if is_parted or is_bare else 0
    return 0


def _is_plea(tokens: Sequence[Token], index: int) -> bool:
    token = tokens[index]
    if token.kind is not Kind.WORD or token.text not in _PLEAS:
        return False
    before = tokens[index - 1].text if index and not token.after_break else ""
    if token.text == "kindly":
        return not before or before in _KINDLY_AFTER
    then = tokens[index + 1] if index + 1 < len(tokens) else None
    is_at_edge = (
        not before or then is None or then.after_break or before in _PLEA_AFTER or then.text in _PLEA_BEFORE
    )
    is_meant = before in _PLEASE_KEPT_AFTER and not (then is None and before in _PLEASE_ENDS_AFTER)
    return is_at_edge and not is_meant


def _skip_closing(tokens: Sequence[Token], begin: int) -> int:
    end = len(tokens)
    while end > begin and (step := _thanks_length(tokens, begin, end)):
        end -= step
    return end


def _thanks_length(tokens: Sequence[Token], begin: int, end: int) -> int:
    for phrase in _THANKS.get(tokens[end - 1].text, ()):
        index = end - len(phrase)
        if index < begin or not starts_with(tokens, index, phrase):
            continue
        before = tokens[index - 1].text if index else ""
        if tokens[index].after_break or (phrase[0] in _BARE_THANKS and before not in _THANKS_KEPT_AFTER):
            return len(phrase)
    return 0


def _to_imperative(tokens: list[Token], *, is_polite: bool) -> list[Token]:
    if len(tokens) < 3 or tokens[1].text != "you" or tokens[0].text not in _CAN | _WILL:
        return tokens
    verb = tokens[2].text
    if is_polite:
        is_request = verb != "not"
    elif tokens[0].text in _WILL and verb in _OPINION_VERBS:
        is_request = False
    else:
        is_request = verb in _REQUEST_VERBS or (
            verb in _VERBS_WITH_SPECIFIC_OBJECT and _has_specific_object(tokens[2:])
        )
    return tokens[2:] if is_request else tokens


def _has_specific_object(tokens: Sequence[Token]) -> bool:
    """Return whether the first verb has a specific object: a definite noun phrase, an identifier, a quote or code."""
    return (len(tokens) > 1 and tokens[1].text in _DEFINITE_DETERMINERS) or any(map(_is_specific, tokens))


def _is_specific(token: Token) -> bool:
    if token.kind is Kind.ID:
        return not _IDENTIFIER_MARKS.isdisjoint(token.text)
    return token.kind in (Kind.QUOTE, Kind.CODE)


def unify_questions(tokens: Sequence[Token]) -> list[Token]:
    """Replace "how do I", "how can you" and "how to" by one token, and "could you" by "can you".

    The subject is kept where it changes the meaning: "how do you contact me" is not "how do I contact me".
    """
    persons_after = _persons_from(tokens)
    unified: list[Token] = []
    index = 0
    while index < len(tokens):
        length, subject = _match_how(tokens, index)
        if length and _is_generic(subject, tokens[index + length : index + length + 2]):
            unified.append(tokens[index]._replace(text=_HOW))
            unified += _subject_token(subject, persons_after[index + length])
            index += length
        else:
            unified.append(_unify_modal(tokens, index))
            index += 1
    return _without_introduction(unified)


def _persons_from(tokens: Sequence[Token]) -> Sequence[frozenset[str]]:
    """Return, for each index, the first and second person pronouns at or after it."""
    persons: list[frozenset[str]] = [frozenset()]
    for token in reversed(tokens):
        is_new = token.text in _PERSONS and token.text not in persons[-1]
        persons.append(persons[-1] | {token.text} if is_new else persons[-1])
    return persons[::-1]


def _match_how(tokens: Sequence[Token], index: int) -> tuple[int, str]:
    """Return the length and the subject of a "how" question that starts at `index`; length 0 if there is none."""
    words_here = tuple(token.text for token in tokens[index : index + 3])
    if words_here[:2] == ("how", "to"):
        return 2, _NO_SUBJECT
    match words_here:
        case ("how", "do" | "can", ("i" | "we" | "you" | "one") as subject):
            return 3, subject
        case ("how", "does", "one") | ("how", "could", "i" | "we" | "one"):
            return 3, words_here[2]
        case ("how", ("i" | "we" | "you" | "one") as subject, "can"):
            return 3, subject
    return 0, _NO_SUBJECT


def _is_generic(subject: str, then: Sequence[Token]) -> bool:
    if not then or then[0].kind is not Kind.WORD:
        return False
    verb = then[0].text
    if verb == "not" or (verb == "do" and len(then) == 1):
        return False
    if subject == "you":
        return verb not in _VERBS_ABOUT_YOU and len(then) > 1
    return subject == _NO_SUBJECT or verb not in _VERBS_ABOUT_ME


def _subject_token(subject: str, persons: frozenset[str]) -> list[Token]:
    if (subject in _SPEAKER and persons & _SECOND_PERSON) or (subject == "you" and persons & _FIRST_PERSON):
        return [Token(Kind.WORD, subject, subject)]
    return []


def _unify_modal(tokens: Sequence[Token], index: int) -> Token:
    token = tokens[index]
    if token.text != "could" or index + 2 >= len(tokens) or tokens[index + 1].text not in _GENERIC_SUBJECTS:
        return token
    is_question = index == 0 or tokens[index - 1].text in _QUESTIONS
    return (
        token._replace(text="can") if is_question and tokens[index + 2].text not in ("not", "have") else token
    )


def _without_introduction(tokens: list[Token]) -> list[Token]:
    for introduction in _INTRODUCTIONS.get(tokens[0].text, ()) if tokens else ():
        after = len(introduction)
        if starts_with(tokens, 0, introduction) and after < len(tokens) and tokens[after].text == _HOW:
            return tokens[after:]
    return tokens
