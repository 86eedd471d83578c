"""Messages for Slack, Microsoft Teams and Google Chat: which report, its window, its rows, where it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["slack", "teams", "google_chat"]

_CARD = "http://adaptivecards.io/schemas/adaptive-card.json"


def chat_message(preset: Preset, values: Mapping[str, str], link: str | None) -> str:
    """The JSON document that the service's incoming webhook takes."""
    title = values.get("report_name") or values["delivery_name"]
    facts = _facts(values)
    documents = {"slack": _slack, "teams": _teams, "google_chat": _google_chat}
    return json.dumps(documents[preset](title, facts, link), ensure_ascii=False)


def _facts(values: Mapping[str, str]) -> dict[str, str]:
    facts = {}
    if values.get("start_datetime") and values.get("end_datetime"):
        zone = f" ({values['timezone']})" if values.get("timezone") else ""
        facts["Window"] = f"{values['start_datetime']} to {values['end_datetime']}{zone}"
    facts["Rows"] = values["row_count"]
    if values["file_names"]:
        facts["File"] = values["file_names"]
    return facts


def _slack(title: str, facts: Mapping[str, str], link: str | None) -> dict[str, Any]:
    """Block Kit; `text` is what notifications show. Control characters are escaped as Slack asks."""
    lines = [f"*{_escaped(title)}*", *(f"{name}: {_escaped(text)}" for name, text in facts.items())]
    if link:
        lines.append(f"<{_escaped(link)}|Open>")
    section = {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(lines)[:3000]}}
    return {"text": _escaped(f"{title}: {facts['Rows']} rows"), "blocks": [section]}


def _teams(title: str, facts: Mapping[str, str], link: str | None) -> dict[str, Any]:
    """An adaptive card, as incoming webhooks of workflows take it."""
    body = [
        {"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": True},
        {"type": "FactSet", "facts": [{"title": name, "value": text} for name, text in facts.items()]},
    ]
    actions = [{"type": "Action.OpenUrl", "title": "Open", "url": link}] if link else []
    card = {"$schema": _CARD, "type": "AdaptiveCard", "version": "1.4", "body": body, "actions": actions}
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
    return {"type": "message", "attachments": [attachment]}


def _google_chat(title: str, facts: Mapping[str, str], link: str | None) -> dict[str, Any]:
    widgets: list[dict[str, Any]] = [
        {"decoratedText": {"topLabel": name, "text": _escaped(text), "wrapText": True}}
        for name, text in facts.items()
    ]
    if link:
        button = {"text": "Open", "onClick": {"openLink": {"url": link}}}
        widgets.append({"buttonList": {"buttons": [button]}})
    card = {"header": {"title": title}, "sections": [{"widgets": widgets}]}
    return {"cardsV2": [{"cardId": "report", "card": card}]}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
