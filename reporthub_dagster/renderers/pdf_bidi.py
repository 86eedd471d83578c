"""Which way text runs: the Unicode Bidirectional Algorithm, https://www.unicode.org/reports/tr9/.

Rules are named as they are there. A level is even where text runs from left to right, odd where it runs from
right to left. Mirroring (L4) is the business of whoever draws the glyphs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\u200f\u202b\u202e\u2067\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_MOST_DEPTH = 125
_MOST_BRACKETS = 63
_INITIATORS = frozenset({"LRI", "RLI", "FSI"})
_EMBEDDINGS = frozenset({"LRE", "RLE", "LRO", "RLO"})
_REMOVED = _EMBEDDINGS | {"PDF", "BN"}
_NEUTRAL = frozenset({"B", "S", "WS", "ON", "PDI"}) | _INITIATORS
_TRAILING = _NEUTRAL - {"ON", "B", "S"} | _REMOVED
_STRONG = {"L": "L", "R": "R", "EN": "R", "AN": "R"}
_CLOSES = {0x5B: 0x5D, 0x7B: 0x7D, 0x298D: 0x2990, 0x298F: 0x298E, 0xFF3B: 0xFF3D, 0xFF5B: 0xFF5D}
"""The brackets whose partner is not the next character."""

bidi_class = lru_cache(maxsize=16_384)(unicodedata.bidirectional)


def runs_both_ways(text: str) -> bool:
    """Whether a text has anything that runs from right to left, so that it has to be put in order."""
    return _RIGHT_TO_LEFT.search(text) is not None


def paragraph_levels(text: str) -> tuple[int, list[int]]:
    """The direction of a paragraph, 0 or 1, and the level of each of its characters."""
    classes = [bidi_class(character) or "L" for character in text]
    base = _base(classes)
    levels, types = _explicit(classes, base)
    for sequence in list(_sequences(classes, levels, base)):
        _resolve(sequence, text, types)
        for index in sequence.indices:
            levels[index] = _implicit(levels[index], types[index])
    for index, kind in enumerate(classes):
        if kind in _REMOVED:  # takes part in nothing; stays with what it follows
            levels[index] = levels[index - 1] if index else base
    return base, levels


def end_of_line(text: str, levels: list[int], base: int) -> list[int]:
    """The levels of a line: tabs, and spaces before them and at its end, run as the paragraph does (L1)."""
    found, trailing = list(levels), True
    for index in reversed(range(len(text))):
        kind = bidi_class(text[index])
        trailing = kind in ("B", "S") or (trailing and kind in _TRAILING)
        if trailing:
            found[index] = base
    return found


def in_visual_order(levels: Sequence[int]) -> list[int]:
    """The positions of what has these levels, from left to right (L2)."""
    order = list(range(len(levels)))
    for level in range(max(levels, default=0), 0, -1):
        parts = [
            (turned, list(part))
            for turned, part in groupby(order, [one >= level for one in levels].__getitem__)
        ]
        order = [index for turned, part in parts for index in (reversed(part) if turned else part)]
    return order


def _base(classes: list[str]) -> int:
    """P2, P3: the first letter with a direction gives it, unless it is isolated."""
    depth = 0
    for kind in classes:
        if kind in _INITIATORS:
            depth += 1
        elif kind == "PDI":
            depth = max(0, depth - 1)
        elif not depth and kind in ("L", "R", "AL"):
            return int(kind != "L")
    return 0


def _closing(classes: list[str], start: int) -> int:
    """Where the isolate that starts here ends (BD9), or the length of the text."""
    depth = 0
    for index in range(start, len(classes)):
        depth += (classes[index] in _INITIATORS) - (classes[index] == "PDI")
        if not depth:
            return index
    return len(classes)


@dataclass(frozen=True, slots=True)
class _Status:
    """What an embedding, an override or an isolate says of the text in it."""

    level: int
    override: str = ""
    is_isolate: bool = False


class _Statuses:
    """The stack of rules X1 to X8."""

    def __init__(self, base: int) -> None:
        self._stack = [_Status(base)]
        self._lost_isolates = self._lost_embeddings = self._isolates = 0

    @property
    def top(self) -> _Status:
        """What holds here."""
        return self._stack[-1]

    def push(self, *, rightward: bool, override: str, is_isolate: bool) -> None:
        """Begin an embedding, an override or an isolate; those that are too deep only count."""
        level = (self.top.level + 2) & ~1 if rightward else (self.top.level + 1) | 1
        if level <= _MOST_DEPTH and not self._lost_isolates and not self._lost_embeddings:
            self._isolates += is_isolate
            self._stack.append(_Status(level, override, is_isolate))
        elif is_isolate:
            self._lost_isolates += 1
        elif not self._lost_isolates:
            self._lost_embeddings += 1

    def pop_isolate(self) -> None:
        """X6a: the end of an isolate ends what was begun in it."""
        if self._lost_isolates:
            self._lost_isolates -= 1
        elif self._isolates:
            self._lost_embeddings = 0
            while not self._stack.pop().is_isolate:
                pass
            self._isolates -= 1

    def pop_embedding(self) -> None:
        """X7: the end of an embedding or an override."""
        if self._lost_isolates:
            return
        if self._lost_embeddings:
            self._lost_embeddings -= 1
        elif not self.top.is_isolate and len(self._stack) > 1:
            self._stack.pop()


def _explicit(classes: list[str], base: int) -> tuple[list[int], list[str]]:
    """X1 to X8: the level of the embedding of each character, and its class where that is overridden."""
    if not _REMOVED.union(_INITIATORS, ("PDI", "B")).intersection(classes):
        return [base] * len(classes), list(classes)
    statuses, levels, types = _Statuses(base), [], list(classes)
    for index, kind in enumerate(classes):
        if kind == "PDI":
            statuses.pop_isolate()
        elif kind == "PDF":
            statuses.pop_embedding()
        levels.append(base if kind == "B" else statuses.top.level)
        if statuses.top.override and kind not in _REMOVED and kind != "B":
            types[index] = statuses.top.override
        if kind in _INITIATORS:
            inner = classes[index + 1 : _closing(classes, index)]
            rightward = kind == "LRI" or (kind == "FSI" and not _base(inner))
            statuses.push(rightward=rightward, override="", is_isolate=True)
        elif kind in _EMBEDDINGS:
            override = kind[0] if kind.endswith("O") else ""
            statuses.push(rightward=kind[0] == "L", override=override, is_isolate=False)
    return levels, types


@dataclass(frozen=True, slots=True)
class _Sequence:
    """An isolating run sequence (BD13): where its characters are, its direction and what is beside it."""

    indices: list[int]
    direction: str
    before: str
    after: str


def _sequences(classes: list[str], levels: list[int], base: int) -> Iterator[_Sequence]:
    """X10: what is resolved together. An isolate is in a sequence of its own."""
    kept = [index for index, kind in enumerate(classes) if kind not in _REMOVED]
    runs = [list(run) for _, run in groupby(kept, key=levels.__getitem__)]
    after_isolate = {_closing(classes, run[-1]): run for run in runs if classes[run[-1]] in _INITIATORS}
    place = {index: position for position, index in enumerate(kept)}
    begun: dict[int, list[int]] = {}
    for run in runs:
        opener = after_isolate.get(run[0])
        if opener is not None and classes[run[0]] == "PDI":
            indices = begun[opener[0]]
            indices += run
        else:
            indices = run
        begun[run[0]] = indices
    for indices in {id(one): one for one in begun.values()}.values():
        level, first, last = levels[indices[0]], place[indices[0]], place[indices[-1]]
        is_open = classes[indices[-1]] in _INITIATORS
        earlier = levels[kept[first - 1]] if first else base
        later = base if is_open or last + 1 == len(kept) else levels[kept[last + 1]]
        yield _Sequence(indices, _side(level), _side(max(level, earlier)), _side(max(level, later)))


def _side(level: int) -> str:
    return "R" if level % 2 else "L"


def _resolve(sequence: _Sequence, text: str, types: list[str]) -> None:
    """W1 to N2, in place: leaves L, R, EN and AN."""
    indices = sequence.indices
    original = [types[index] for index in indices]
    found = _weak(original, sequence)
    if _NEUTRAL.intersection(found):
        _brackets([text[index] for index in indices], original, found, sequence)
        _neutral(found, sequence)
    for index, kind in zip(indices, found, strict=True):
        types[index] = kind


def _weak(types: list[str], sequence: _Sequence) -> list[str]:
    """W1 to W7: marks and numbers."""
    found, previous = [], sequence.before
    for kind in types:  # W1
        previous = (
            ("ON" if previous in _INITIATORS or previous == "PDI" else previous) if kind == "NSM" else kind
        )
        found.append(previous)
    strong = sequence.before
    for index, kind in enumerate(found):  # W2, W3
        if kind in ("L", "R", "AL"):
            strong = kind
        elif kind == "EN" and strong == "AL":
            found[index] = "AN"
    found = ["R" if kind == "AL" else kind for kind in found]
    for index in range(1, len(found) - 1):  # W4
        one, two = found[index - 1], found[index + 1]
        if one == two and (
            (found[index] == "CS" and one in ("EN", "AN")) or (found[index] == "ES" and one == "EN")
        ):
            found[index] = one
    return _numbers(found, sequence)


def _numbers(found: list[str], sequence: _Sequence) -> list[str]:
    """W5 to W7: signs beside numbers, and numbers that run as the text before them."""
    turned: list[str] = []
    for kind, part in groupby(found):
        size = len(list(part))
        beside = kind == "ET" and "EN" in (turned[-1:] + found[len(turned) + size : len(turned) + size + 1])
        turned += ["EN" if beside else kind] * size
    strong = sequence.before
    for index, kind in enumerate(turned):
        if kind in ("L", "R"):
            strong = kind
        elif kind == "EN" and strong == "L":
            turned[index] = "L"
        elif kind in ("ES", "ET", "CS"):
            turned[index] = "ON"
    return turned


def _brackets(characters: list[str], original: list[str], found: list[str], sequence: _Sequence) -> None:
    """N0: brackets run as what they hold, or as what surrounds them."""
    for opening, closing in _pairs(characters, found):
        inside = {_STRONG[kind] for kind in found[opening + 1 : closing] if kind in _STRONG}
        direction = sequence.direction
        if not inside:
            continue
        if direction not in inside:
            context = next(
                (_STRONG[kind] for kind in reversed(found[:opening]) if kind in _STRONG), sequence.before
            )
            direction = context if context in inside else direction
        for position in (opening, closing):
            found[position] = direction
            for mark in range(position + 1, len(found)):
                if original[mark] != "NSM":
                    break
                found[mark] = direction


def _pairs(characters: list[str], found: list[str]) -> list[tuple[int, int]]:
    """BD16: which brackets belong together, by where they open."""
    waiting: list[tuple[int, int]] = []
    pairs = []
    for index, character in enumerate(characters):
        if found[index] != "ON" or not unicodedata.mirrored(character):
            continue
        code, category = ord(unicodedata.normalize("NFC", character)), unicodedata.category(character)
        if category == "Ps":
            if len(waiting) == _MOST_BRACKETS:
                return []
            waiting.append((_CLOSES.get(code, code + 1), index))
        elif category == "Pe":
            place = next((at for at in reversed(range(len(waiting))) if waiting[at][0] == code), None)
            if place is not None:
                pairs.append((waiting[place][1], index))
                del waiting[place:]
    return sorted(pairs)


def _neutral(found: list[str], sequence: _Sequence) -> None:
    """N1, N2: what has no direction takes that of both its sides, or that of the sequence."""
    index, before = 0, sequence.before
    for is_neutral, part in groupby(list(found), key=_NEUTRAL.__contains__):
        size = len(list(part))
        if is_neutral:
            after = _STRONG[found[index + size]] if index + size < len(found) else sequence.after
            found[index : index + size] = [before if before == after else sequence.direction] * size
        else:
            before = _STRONG[found[index + size - 1]]
        index += size


def _implicit(level: int, kind: str) -> int:
    """I1, I2."""
    if level % 2:
        return level + (kind != "R")
    return level + {"L": 0, "R": 1}.get(kind, 2)
