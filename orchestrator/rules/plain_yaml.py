"""Decodes YAML that says no more than JSON could: without aliases, dates, tags of its own, and repeated keys."""

import json
from typing import Any

from orchestrator.rules.strict_json import MAX_DEPTH, decode


def decode_yaml(text: str, *, dates_as_text: bool = False) -> Any:
    """Return the JSON value of a YAML text; raises ValueError with the reason, on one line.

    Whoever reads untrusted texts bounds their size first: PyYAML is linear in it up to MAX_DEPTH levels, but slow.
    """
    import yaml  # noqa: PLC0415 - most processes do without it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                # PyYAML looks at all open levels for each token
                raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
            if isinstance(event, yaml.AliasEvent):
                # an alias repeats a part, and aliases of aliases grow without bounds
                raise ValueError("aliases (*name) are not allowed: write the part again")
        loaded = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader
        encoded = json.dumps(loaded, default=str if dates_as_text else None, allow_nan=False)
        return decode(encoded.encode())
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from error
