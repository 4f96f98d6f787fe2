"""Misspelt variables, which would be ignored silently."""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

_CLOSE = 0.85
_SHORTEST = 8
_CLOSE_STEM = 0.8
_SHORTEST_STEM = 5
# Endings that people confuse, by the right one: of variables for keys and for addresses.
_KEY_ENDS = re.compile(r"_?(?:API_?|ACCESS_?|SECRET_?)?(?:KEYS?|TOKENS?)$")
_URL_ENDS = re.compile(r"_?(?:API_?)?(?:BASE_?)?(?:URLS?|URI|HOSTS?|ENDPOINT|API_BASE)$")
_USUAL_ENDS = ("_API_KEY", "_BASE_URL")
# The two variables of a custom upstream, as people may write them.
_OWN = re.compile(r"PROVIDERS?_([A-Z][A-Z0-9_]*?)_?(?:(BASE_?URL|URL|API_BASE|ENDPOINT|HOST)|(API_?KEYS?|KEY|TOKEN))")
_OWN_EXACT = re.compile(r"PROVIDER_[A-Z][A-Z0-9_]*_(?:BASE_URL|API_KEY|API_KEY_FILE)")
# Variables that Kubernetes sets for services, and Docker for linked containers.
_SERVICE_LINK = re.compile(r".+_(?:SERVICE_(?:HOST|PORT(?:_.+)?)|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_.+)?)?)")


def near_misses(variables: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each misspelt variable, with the name that is probably meant, which is not set itself."""
    names = set(variables)
    unset = sorted(set(known) - names)
    for name in sorted(names - set(known)):
        if (
            not _SERVICE_LINK.fullmatch(name)
            and not _OWN_EXACT.fullmatch(name)
            and (meant := _meant(name.upper(), unset))
        ):
            yield name, meant


def _meant(name: str, unset: list[str]) -> str | None:
    if name in unset:
        return name  # written in lower case
    if own := _OWN.fullmatch(name):
        return f"PROVIDER_{own[1]}_{'BASE_URL' if own[2] else 'API_KEY'}"
    for ends in (_KEY_ENDS, _URL_ENDS):
        if found := ends.search(name):
            return _of_stem(
                name[: found.start()], found[0], {known: end for known in unset if (end := ends.search(known))}
            )
    near = difflib.get_close_matches(name, unset, n=1, cutoff=_CLOSE) if len(name) >= _SHORTEST else []
    return near[0] if near else None


def _of_stem(stem: str, end: str, known: Mapping[str, re.Match[str]]) -> str | None:
    """The known variable with the same stem and another ending, or with a similar stem."""
    stems = {_plain(name[: end.start()]): name for name, end in known.items()}
    plain = _plain(stem)
    if plain in stems or len(plain) < _SHORTEST_STEM or end not in _USUAL_ENDS:
        return stems.get(plain)
    near = difflib.get_close_matches(plain, stems, n=1, cutoff=_CLOSE_STEM)
    return stems[near[0]] if near else None


def _plain(stem: str) -> str:
    return stem.replace("_", "")
