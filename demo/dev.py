"""`make dev`: Dagster's UI on the same instance, with the demo's mail sink unless a mail server is set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext

from dotenv import load_dotenv

from demo.mail_sink import environment, mail_sink
from demo.planes_api import planes_api
from demo.setup import demo_folder, offer_days_of_flights
from reporthub_dagster.db.session import Hub
from reporthub_dagster.instance import choose_instance, write_embedded_instance
from reporthub_dagster.settings import Settings


def main() -> int:
    """Serve until interrupted."""
    load_dotenv()
    settings = Settings.load()
    Hub(settings.hub_url, settings.hub_zone).create_missing_tables()
    write_embedded_instance(settings)
    choose_instance(settings)
    offer_days_of_flights(settings)
    sink: AbstractContextManager[dict[str, str]] = nullcontext({})
    if not settings.smtp_host:
        sink = mail_sink(demo_folder(settings) / "mail")
    port = os.environ.get("PORT", "3000")
    ours = {
        "REPORTHUB_FILE_ROOTS": settings.file_roots or str(demo_folder(settings)),
        "REPORTHUB_UI_URL": settings.ui_url or f"http://127.0.0.1:{port}",
        "REPORTHUB_EGRESS_ALLOW": f"{settings.egress_allow} 127.0.0.1",
    }
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", port]
    # Dagster stops its services with SIGINT: they must not inherit that it is ignored (`make dev &`).
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        sink as smtp,
        planes_api(settings.home / "reporthub.db") as api,
        environment({**smtp, **api, **ours}),
        subprocess.Popen(command) as dagster,  # noqa: S603 - our own words
    ):
        signal.signal(signal.SIGTERM, lambda *_: dagster.send_signal(signal.SIGINT))
        # Ctrl-C reaches Dagster by itself: it ends its own services, and we wait for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return dagster.wait()


if __name__ == "__main__":
    sys.exit(main())
