"""Who is to get a report: everybody who is due it, nobody, or whoever tries it, by e-mail."""

from __future__ import annotations

from reporthub_dagster.db.repository import Repository
from reporthub_dagster.destinations.addresses import Address
from reporthub_dagster.reporting.errors import ConfigurationError
from reporthub_dagster.reporting.records import Deliver


def parse_deliver(text: str, executed_by: str) -> Deliver:
    """`all`, `none`, or addresses separated by commas, of which `me` is that of whoever asks.

    Raises:
        ConfigurationError: It names nobody, or `me` is somebody without an address.
    """
    word = text.strip()
    if word.lower() in {"all", ""}:
        return "all"
    if word.lower() == "none":
        return "none"
    addresses = tuple(part.strip() for part in word.split(",") if part.strip())
    if not addresses:
        raise ConfigurationError(
            "names nobody", column="deliver", value=text, valid="valid: all, none, me, addresses"
        )
    return tuple(_address_of(one, executed_by) for one in addresses)


def _address_of(word: str, executed_by: str) -> str:
    if word.lower() != "me":
        return word
    try:
        Address.parse(executed_by)
    except ValueError:
        raise ConfigurationError(
            "deliver: me goes to the address of whoever asks, and this is none",
            column="executed_by",
            value=executed_by,
            valid="give your e-mail address in executed_by, or in deliver",
        ) from None
    return executed_by


def require_deliverable(deliver: Deliver, repository: Repository, config_id: int) -> None:
    """Make sure that a test run, which goes by e-mail to whoever asked for it, can.

    Raises:
        ConfigurationError: An address is none, or the report has no e-mail delivery to try.
    """
    if isinstance(deliver, str):
        return
    for address in deliver:
        try:
            Address.parse(address)
        except ValueError as error:
            raise ConfigurationError(
                str(error), column="deliver", value=address, valid="valid: all, none, me, e-mail addresses"
            ) from None
    if "email" not in repository.active_methods(config_id):
        raise ConfigurationError(
            f"a test run goes by e-mail, and report_configs {config_id} has no active e-mail delivery",
            column="deliver",
            value=", ".join(deliver),
            valid="valid: all, none",
        )
