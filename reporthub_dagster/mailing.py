"""What the environment says to destinations; knows no Dagster, which loads slowly."""

from __future__ import annotations

from reporthub_dagster.db.host_keys import PinnedHostKeys
from reporthub_dagster.db.session import Hub
from reporthub_dagster.destinations.environment import DestinationSettings, MailPolicy, SmtpServer
from reporthub_dagster.reporting.redaction import revealed
from reporthub_dagster.settings import Settings


def destination_settings(settings: Settings) -> DestinationSettings:
    """What destinations get from the environment."""
    return DestinationSettings(
        smtp=_smtp_server(settings),
        egress=settings.egress_policy,
        mail=_mail_policy(settings),
        host_keys=PinnedHostKeys(lambda: Hub(settings.hub_url, settings.hub_zone)),
        refuse_unknown_hosts=settings.sftp_unknown_hosts == "refuse",
    )


def _mail_policy(settings: Settings) -> MailPolicy:
    domains = settings.mail_allowed_domains.lower().replace(",", " ").split()
    return MailPolicy(
        redirect_to=settings.redirect_all_mail_to,
        allowed_domains=tuple(domain.removeprefix("@") for domain in domains),
        size_limit=int(settings.mail_limit_mb * 1_000_000),
    )


def _smtp_server(settings: Settings) -> SmtpServer | None:
    if not settings.smtp_host:
        return None
    password = settings.smtp_password
    return SmtpServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        username=settings.smtp_user,
        password=revealed(password),
        from_email=settings.smtp_from_email,
        use_tls=settings.smtp_use_tls,
        ca_file=str(settings.smtp_ca_file) if settings.smtp_ca_file else None,
    )
