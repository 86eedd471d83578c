"""E-mail addresses as people write them into rows: told apart, checked, and made ready for the wire."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_SEPARATED = re.compile(r'(?:"(?:\\.|[^"\\])*"|[^,;])+')
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<spec>[^<>]*)>")
_ATOM = re.compile(r'[^\s@"(),:;<>\[\]\\]+')
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_LOCAL = 64
_LONGEST_DOMAIN = 253


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox (RFC 5321, RFC 6531).

    Attributes:
        text: As people read it: the domain in small letters, in the alphabet in which it was written.
        wire: As the protocol carries it: the domain in ASCII (IDNA).
        name: The display name it was written with, or empty.
    """

    text: str
    wire: str
    name: str = ""

    @property
    def domain(self) -> str:
        """Its domain in ASCII."""
        return self.wire.rpartition("@")[2]

    @property
    def needs_utf8(self) -> bool:
        """True when only a server with SMTPUTF8 can carry it."""
        return not self.wire.isascii()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `a@b.c` or `Name <a@b.c>`.

        Raises:
            ValueError: It is not one address; says why.
        """
        text = text.strip()
        if _UNSAFE.search(text):
            raise ValueError("it holds a line break or another control character")
        named = _NAMED.fullmatch(text)
        spec = named["spec"].strip() if named else text
        name = named["name"].strip().strip('"') if named else ""
        local, at, domain = spec.rpartition("@")
        if not at or not local or not domain:
            raise ValueError("it is not an e-mail address like name@example.com")
        _check_local(local)
        ascii_domain = _ascii_domain(domain)
        return cls(text=f"{local}@{domain.lower()}", wire=f"{local}@{ascii_domain}", name=name)


def split_addresses(value: str | Iterable[str]) -> tuple[str, ...]:
    """The single addresses of a field that may hold several, separated by `,` or `;`."""
    parts = [value] if isinstance(value, str) else value
    found = (piece.strip() for part in parts for piece in _SEPARATED.findall(part))
    return tuple(piece for piece in found if piece)


def _check_local(local: str) -> None:
    if not all(_ATOM.fullmatch(atom) for atom in local.split(".")):
        raise ValueError("the part before @ is not valid")
    if len(local.encode()) > _LONGEST_LOCAL:
        raise ValueError(f"the part before @ is longer than {_LONGEST_LOCAL} bytes")


def _ascii_domain(domain: str) -> str:
    """IDNA, refusing what its first edition would turn into another domain (`ß` into `ss`)."""
    try:
        encoded = domain.lower().encode("idna").decode("ascii")
        same = encoded.encode().decode("idna") == domain.lower() or domain.isascii()
    except UnicodeError:
        raise ValueError("the part after @ is not a domain name") from None
    if not same:
        raise ValueError("its domain has more than one reading; write it in its xn-- form")
    if len(encoded) > _LONGEST_DOMAIN or not all(_LABEL.fullmatch(part) for part in encoded.split(".")):
        raise ValueError("the part after @ is not a domain name")
    return encoded
