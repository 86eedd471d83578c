"""Bodies of HTTP requests that can be read more than once: a document, or files streamed from disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx

from reporthub_dagster.destinations.parcel_files import chunks_of
from reporthub_dagster.reporting.records import RenderedFile


class Body(ABC):
    """What is sent: the same bytes every time it is read."""

    media_type: str
    size: int

    @abstractmethod
    def pieces(self) -> Iterator[bytes]:
        """The bytes, from the beginning.

        Raises:
            PermanentError: A file is gone or is not what was rendered.
            TransientError: A file cannot be read.
        """


class Document(Body):
    """A text."""

    def __init__(self, text: str, media_type: str, about: Sequence[RenderedFile]) -> None:
        self._bytes = text.encode()
        self._about = about
        self.media_type = media_type
        self.size = len(self._bytes)

    def pieces(self) -> Iterator[bytes]:
        """The text, once the files it speaks of are known to be what was rendered."""
        for file in self._about:
            for _ in chunks_of(file):
                pass
        yield self._bytes


class Multipart(Body):
    """`multipart/form-data`: the document as `payload`, then every file as `file` (RFC 7578)."""

    def __init__(
        self, document: str, document_type: str, files: Sequence[RenderedFile], boundary: str
    ) -> None:
        self._boundary = boundary
        self._files = files
        self._payload = self._head("payload", None, document_type) + document.encode()
        self._heads = [self._head("file", file.name, file.media_type) for file in files]
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self.media_type = f"multipart/form-data; boundary={boundary}"
        fixed = len(self._payload) + sum(map(len, self._heads)) + len(self._tail)
        self.size = fixed + sum(file.size for file in files)

    def pieces(self) -> Iterator[bytes]:
        """Part by part; a file at most 1 MiB at a time."""
        yield self._payload
        for head, file in zip(self._heads, self._files, strict=True):
            yield head
            yield from chunks_of(file)
        yield self._tail

    def _head(self, name: str, file_name: str | None, media_type: str) -> bytes:
        """The lines before a part; a file's name is UTF-8 with what would end it escaped, as in browsers."""
        start = "" if name == "payload" else "\r\n"
        escaped = (file_name or "").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        named = f'; filename="{escaped}"' if file_name else ""
        disposition = f'Content-Disposition: form-data; name="{name}"{named}'
        return f"{start}--{self._boundary}\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n".encode()


@dataclass
class Sending(httpx.SyncByteStream):
    """A body on its way.

    Attributes:
        done: Its last byte was handed over: the other side may have all of it.
    """

    body: Body
    done: bool = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.body.pieces()
        self.done = True
