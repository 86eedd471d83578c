"""`delivery_config` of folders: one that is mounted here, or one on an SMB server."""

from __future__ import annotations

from pydantic import Field

from reporthub_dagster.destinations.row_settings import RowSettings, Secret


class FileShareSettings(RowSettings):
    r"""Every key of a file_share row.

    Attributes:
        path: The folder; its parts may hold `{{variables}}`. What stands before the first of them must exist
            unless `create_directory`: a share that is not mounted must not fill the local disk. With a
            `server`, from the share's root; or all in one, `\\server\share\folder`.
        overwrite: Of a mounted folder: replace an existing file of the same name; False refuses.
        encrypt: Of SMB: refuse a server that does not encrypt.
        timeout: Of SMB: seconds for connecting and for each answer.
    """

    path: str | None = None
    create_directory: bool = False
    overwrite: bool = True
    server: str | None = None
    share: str | None = None
    port: int = Field(445, ge=1, le=65535)
    username: str | None = None
    password: Secret | None = None
    domain: str | None = None
    encrypt: bool = True
    timeout: float = Field(30, gt=0, le=3600)

    @property
    def is_smb(self) -> bool:
        """True when the folder is on another machine."""
        return bool(self.server or self.share or (self.path or "").strip().startswith(("\\\\", "//")))

    def location(self) -> tuple[str, str, str]:
        """Server, share and the path from its root, with `/` between its parts."""
        path = (self.path or "").strip().replace("\\", "/")
        if self.server or self.share:
            return (self.server or "").strip("\\/ "), (self.share or "").strip("\\/ "), path.strip("/")
        server, _, rest = path.strip("/").partition("/")
        share, _, folder = rest.partition("/")
        return server, share, folder.strip("/")
