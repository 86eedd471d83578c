"""`delivery_config` of e-mail deliveries, and the server and the sender that follow from it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from reporthub_dagster.destinations.addresses import Address, split_addresses
from reporthub_dagster.destinations.environment import DestinationSettings, SmtpServer
from reporthub_dagster.destinations.row_settings import RowSettings, Secret
from reporthub_dagster.destinations.smtp_connect import Route
from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.redaction import revealed

MOST_BODY_ROWS = 1_000
_STARTTLS_PORT, _TLS_PORT = 587, 465


def _rows(given: Any) -> Any:
    return MOST_BODY_ROWS if given == "all" else given


class EmailSettings(RowSettings):
    """Every key of an e-mail row; without a server of its own, the environment's is used.

    Attributes:
        use_tls: STARTTLS, and nothing is sent without it; unless said, true at port 587.
        use_ssl: TLS from the first byte; always at port 465.
        tls_ca_file: PEM file of the authority to trust instead of the system's.
        tls_verify: False accepts any certificate.
        body_rows: How many of the first rows the body shows; 1,000 for `all`.
        link: Where people find files that are too large for a mail: see `report_link`.
        link_s3: A bucket for those files, and for how long its links work: see `LinkBucket`.
    """

    subject: str | None = Field(None, validation_alias=AliasChoices("subject_template", "subject"))
    body: str | None = Field(None, validation_alias=AliasChoices("body_template", "body"))
    body_html: str | None = None
    smtp_server: str | None = Field(None, validation_alias=AliasChoices("smtp_server", "smtp_host"))
    smtp_port: int | None = Field(None, ge=1, le=65535)
    username: str | None = None
    password: Secret | None = None
    from_email: str | None = None
    from_name: str | None = None
    use_tls: bool | None = None
    use_ssl: bool | None = None
    cc: str | tuple[str, ...] = ()
    bcc: str | tuple[str, ...] = ()
    reply_to: str | tuple[str, ...] = ()
    tls_ca_file: str | None = None
    tls_verify: bool = True
    body_rows: Annotated[int, BeforeValidator(_rows)] | None = Field(None, ge=1, le=MOST_BODY_ROWS)
    link: str | None = None
    link_s3: dict[str, Any] = Field(default_factory=dict, repr=False)


def find_route(settings: EmailSettings, surroundings: DestinationSettings, row: int) -> Route:
    """The row's server, or the environment's with what the row says otherwise.

    The environment's password goes to the environment's server only. That server is the operator's own word:
    it may be anywhere.

    Raises:
        ConfigurationError: There is neither.
    """
    own = settings.smtp_server is not None
    known = SmtpServer(settings.smtp_server, 0, use_tls=False) if settings.smtp_server else surroundings.smtp
    if known is None:
        raise ConfigurationError(
            "there is no mail server",
            table="report_deliveries",
            row=row,
            column="delivery_config.smtp_server",
            valid="set it, or SMTP_HOST, SMTP_PORT, SMTP_USER, SMTP_PASSWORD and SMTP_FROM_EMAIL "
            "in the environment",
        )
    port = settings.smtp_port or known.port or (_TLS_PORT if settings.use_ssl else _STARTTLS_PORT)
    implicit = port == _TLS_PORT or (known.use_ssl if settings.use_ssl is None else settings.use_ssl)
    starttls = (
        (known.use_tls or (own and port == _STARTTLS_PORT)) if settings.use_tls is None else settings.use_tls
    )
    username, password = known.username, known.password
    if settings.username:
        username = settings.username
        password = revealed(settings.password)
    return Route(
        host=known.host.strip(),
        port=port,
        username=username,
        password=password,
        starttls=starttls and not implicit,
        implicit_tls=implicit,
        ca_file=settings.tls_ca_file or known.ca_file,
        verify=settings.tls_verify,
        row=row if own else None,
        egress=surroundings.egress if own else EgressPolicy(),
    )


def find_sender(settings: EmailSettings, environment: SmtpServer | None, row: int) -> Address:
    """Who the mails are from.

    Raises:
        ConfigurationError: Nobody is named, or not by a valid address.
    """
    own = {"from_email": settings.from_email, "username": _if_address(settings.username)}
    for setting, text in own.items():
        if text:
            return setting_address(text, setting, row)
    if environment and (text := environment.from_email or _if_address(environment.username)):
        return parse_located(text, table=None, row=None, column="SMTP_FROM_EMAIL")
    raise ConfigurationError(
        "the mails have no sender",
        table="report_deliveries",
        row=row,
        column="delivery_config.from_email",
        valid="set it, or SMTP_FROM_EMAIL in the environment",
    )


def setting_address(text: str, setting: str, row: int) -> Address:
    """One address of a setting.

    Raises:
        ConfigurationError: It is not valid.
    """
    return parse_located(text, table="report_deliveries", row=row, column=f"delivery_config.{setting}")


def parse_located(text: str, *, table: str | None, row: int | None, column: str | None) -> Address:
    """An address, with errors that say in which row or setting it stands."""
    try:
        return Address.parse(text)
    except ValueError as error:
        raise ConfigurationError(
            f"this is not a valid e-mail address: {error}",
            table=table,
            row=row,
            column=column,
            value=text,
            valid="correct it, like name@example.com",
        ) from None


def reply_addresses(settings: EmailSettings, row: int) -> tuple[Address, ...]:
    """Whom answers go to.

    Raises:
        ConfigurationError: One of them is not valid.
    """
    return tuple(setting_address(text, "reply_to", row) for text in split_addresses(settings.reply_to))


def tolerated(settings: EmailSettings, route: Route) -> tuple[str, ...]:
    """What an operator should know about these settings, one sentence each."""
    sentences = [
        f"delivery_config.{key} is not known to email and has no effect" for key in settings.unknown()
    ]
    if not route.verify:
        sentences.append(f"delivery_config.tls_verify is false: any certificate of {route.host} is accepted")
    if route.username and not (route.starttls or route.implicit_tls):
        sentences.append(f"the password goes to {route.host} unencrypted: set {route.setting('use_tls')}")
    return tuple(sentences)


def _if_address(username: str | None) -> str | None:
    return username if username and "@" in username else None
