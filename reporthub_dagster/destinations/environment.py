"""What destinations get from the environment rather than from their row: the operator's part."""

from __future__ import annotations

from dataclasses import dataclass, field

from reporthub_dagster.network.egress import EgressPolicy
from reporthub_dagster.reporting.host_keys import HostKeys


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The mail server of the environment, for e-mail deliveries without one of their own.

    Attributes:
        use_tls: STARTTLS after connecting; port 465 and `use_ssl` mean TLS from the first byte.
        ca_file: PEM file of the certificate authorities to trust instead of the system's; None for those.
    """

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    from_email: str | None = None
    use_tls: bool = True
    use_ssl: bool = False
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class MailPolicy:
    """What an operator says about every mail.

    Attributes:
        redirect_to: The one address that gets every mail instead of its recipient; None for real deliveries.
        allowed_domains: Where mail may go, `.example.com` for all below it; empty for anywhere.
        size_limit: Bytes of an encoded message; what is larger is zipped, then replaced by a link.
    """

    redirect_to: str | None = None
    allowed_domains: tuple[str, ...] = ()
    size_limit: int = 20_000_000

    def allows(self, domain: str) -> bool:
        """True when mail may go to a domain, given in small letters and ASCII."""
        return not self.allowed_domains or any(
            domain == entry or (entry.startswith(".") and domain.endswith(entry))
            for entry in self.allowed_domains
        )


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """What destinations get from the environment rather than from their row.

    Attributes:
        timeout_seconds: For connecting, and for each answer.
        egress: Which addresses may be reached.
        mail: Who may get mail, and how large it may be.
        host_keys: Keys of machines that were connected to; None where nothing can be kept.
        refuse_unknown_hosts: A machine whose key nobody gave is not connected to.
    """

    smtp: SmtpServer | None = None
    timeout_seconds: float = 30.0
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    mail: MailPolicy = field(default_factory=MailPolicy)
    host_keys: HostKeys | None = None
    refuse_unknown_hosts: bool = False
