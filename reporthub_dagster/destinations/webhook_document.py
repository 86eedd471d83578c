"""The document of a webhook whose row has no template of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reporthub_dagster.destinations.base import Parcel

_WINDOW = ("start_datetime", "end_datetime", "timezone")


def default_document(parcel: Parcel, values: Mapping[str, str], link: str | None) -> str:
    """`{"type": "report.delivered", "data": {…}}`: the report, its window, its files.

    The same on every attempt, so that a receiver that sees it twice sees the same thing.
    """
    data: dict[str, Any] = {
        "execution_id": parcel.execution_id,
        "report_name": values.get("report_name", ""),
        "delivery_name": values["delivery_name"],
        "recipient": values["recipient"],
        "window": {name: values[name] for name in _WINDOW if name in values},
        "row_count": int(values["row_count"]),
        "files": [
            {
                "name": file.name,
                "media_type": file.media_type,
                "size": file.size,
                "sha256": file.sha256,
                "row_count": file.row_count,
            }
            for file in parcel.files
        ],
    }
    if link:
        data["link"] = link
    return json.dumps({"type": "report.delivered", "data": data}, ensure_ascii=False)
