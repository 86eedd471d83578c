# /// script
# requires-python = ">=3.11"
# dependencies = ["fakesnow[server]==0.12.1", "snowflake-connector-python<5"]
# ///
"""The Snowflake emulator fakesnow, with what it has not: checked logins, queries that go on by themselves.

It runs in an environment of its own, for what it needs does not go with ours:
python snowflake_emulator.py PORT USER PASSWORD PUBLIC_KEY
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import importlib
import json
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

_server: Any = importlib.import_module("fakesnow.server")
_LONG = re.compile(r"range\(1, (\d{6,}) \+ 1\)")
_STALLED = "FROM stalled"
_SHOW_GRANTS = re.compile(r'SHOW GRANTS TO ROLE "(\w+)"( INCLUDE HIERARCHY)?')
_ROLES = """'FIRST', '{"roles":"FIRST,SECOND","value":"ALL"}'"""
_GRANTS = {
    "FIRST": [("USAGE", "ROLE", "FIRST"), ("CREATE TABLE", "SCHEMA", "FIRST")],
    "SECOND": [("UPDATE", "TABLE", "SECOND"), ("CREATE VIEW", "SCHEMA", "SECOND")],
}
_INHERITED = {"FIRST": [("INSERT", "TABLE", "WRITER"), ("SELECT", "TABLE", "WRITER")], "SECOND": []}
"""Role of the session → what it was granted, and what it has from a role that it inherits."""
_CHUNK_ROWS, _MOST_CHUNKS = 5_000, 2_000
_RUNNING: dict[str, dict[str, Any]] = {}
"""Query id → its text, why it has ended, and its answer when it has one."""
_CHUNK: list[bytes] = []


class Front:
    """The emulator's application, behind ours."""

    def __init__(self, user: str, password: str, public_key: bytes) -> None:
        self.user, self.password = user, password
        self.public_key: Any = serialization.load_pem_public_key(public_key)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding") == b"gzip":
            body = gzip.decompress(body)
            scope = {
                **scope,
                "headers": [pair for pair in scope["headers"] if pair[0] != b"content-encoding"],
            }
        status, answer = await self.answer(scope, body)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def answer(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        parts = scope["path"].strip("/").split("/")
        if parts[0] in _OWN:
            return 200, _OWN[parts[0]](body)
        if parts[-1].startswith("login-request"):
            return await self._login(scope, body)
        if parts[-1] == "query-request":
            return await self._query(scope, json.loads(body))
        known = next((_RUNNING[part] for part in parts if part in _RUNNING), None)
        if known is None:
            return await _inner(scope, body)
        if parts[-1] == "abort-request":
            known["ended"] = known["ended"] or "604"
            return 200, b'{"success": true, "data": {}, "code": null, "message": null}'
        return 200, json.dumps(_told(known, parts)).encode()

    async def _login(self, scope: Any, body: bytes) -> tuple[int, bytes]:
        data = json.loads(body)["data"]
        if not self._is_let_in(data):
            words = "Incorrect username or password was specified."
            refusal = {
                "success": False,
                "code": "390100",
                "message": words,
                "data": {"authnMethod": "USERNAME"},
            }
            return 200, json.dumps(refusal).encode()
        parameters = data.get("SESSION_PARAMETERS") or {}
        if str(parameters.get("AUTOCOMMIT", "")).lower() == "false":
            parameters["AUTOCOMMIT"] = False  # which fakesnow takes for true as a text
        status, answer = await _inner(scope, json.dumps({"data": data}).encode())
        document = json.loads(answer)
        found = document.get("data") or {}
        # fakesnow knows an older driver's logins only.
        found |= {"masterToken": found.get("token"), "validityInSeconds": 3600, "sessionId": 1}
        return status, json.dumps({**document, "data": {**found, "masterValidityInSeconds": 14400}}).encode()

    def _is_let_in(self, data: dict[str, Any]) -> bool:
        if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
            signed, _, signature = data["TOKEN"].rpartition(".")
            raw = base64.urlsafe_b64decode(signature + "==")
            try:
                self.public_key.verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            except Exception:  # noqa: BLE001 - whatever is wrong with it
                return False
            return True
        return (data.get("LOGIN_NAME"), data.get("PASSWORD")) == (self.user, self.password)

    async def _query(self, scope: Any, sent: dict[str, Any]) -> tuple[int, bytes]:
        sql, name = sent["sqlText"], str(uuid.uuid4())
        behind = bool(sent.pop("asyncExec", False))
        long = _LONG.search(sql)
        one: dict[str, Any] = {"sql": sql, "ended": "", "answer": None, "begun": time.monotonic()}
        one["seconds"] = float((sent.get("parameters") or {}).get("STATEMENT_TIMEOUT_IN_SECONDS") or 1e9)
        if asked := _SHOW_GRANTS.fullmatch(sql):
            held = _GRANTS[asked[1]] + (_INHERITED[asked[1]] if asked[2] else [])
            rows = ", ".join(f"('{right}', '{kind}', '{holder}')" for right, kind, holder in held)
            granted = f'SELECT * FROM (VALUES {rows}) AS t("privilege", "granted_on", "grantee_name")'
            return await _inner(scope, json.dumps({**sent, "sqlText": granted}).encode())
        sent["sqlText"] = sql = sql.replace("CURRENT_ROLE(), CURRENT_SECONDARY_ROLES()", _ROLES)
        for value in (sent.get("bindings") or {}).values():
            if value["type"] == "FIXED" and "." in str(value["value"]):
                value["type"] = "TEXT"  # fakesnow knows no decimals among them
        if _STALLED not in sql:
            inner = _LONG.sub(f"range(1, {_CHUNK_ROWS} + 1)", sql)
            status, answer = await _inner(scope, json.dumps({**sent, "sqlText": inner}).encode())
            document = json.loads(answer)
            if long and document.get("success"):
                document = _in_chunks(document, int(long[1]))
            if not behind:
                return status, json.dumps(document).encode() if long else answer
            if document.get("success"):
                name = document["data"]["queryId"]
                one["answer"] = document
            one["ended"] = "" if long else str(document.get("code") or "done")
            syntax = "syntax error: " if document.get("code") == "001003" else ""  # in Snowflake's own words
            one["words"] = f"{syntax}{document.get('message')}"
        _RUNNING[name] = one
        told = {"queryId": name, "getResultUrl": f"/queries/{name}/result", "queryAbortsAfterSecs": 300}
        reply = {"data": told, "code": "333334", "message": "Query execution in progress.", "success": True}
        return 200, json.dumps(reply).encode()


def _statements(_: bytes) -> bytes:
    return json.dumps([one["sql"] for one in _RUNNING.values() if not _ended(one)]).encode()


def _ended(one: dict[str, Any]) -> str:
    if not one["ended"] and one["answer"] is None and time.monotonic() - one["begun"] > one["seconds"]:
        one["ended"] = "630"
    return str(one["ended"])


def _told(one: dict[str, Any], parts: list[str]) -> dict[str, Any]:
    """The state of a query, or its result."""
    ended = _ended(one)
    words = {"604": "SQL execution canceled", "630": "Statement reached its statement timeout"}
    code, message = (
        f"{int(ended or 333333):06d}" if ended != "done" else None,
        words.get(ended, one.get("words")),
    )
    if parts[0] == "monitoring":
        state = "SUCCESS" if one["answer"] else "FAILED_WITH_ERROR" if ended else "RUNNING"
        told: dict[str, Any] = {"id": parts[-1], "status": state, "state": state}
        if state == "FAILED_WITH_ERROR":
            told |= {"errorCode": code, "errorMessage": message}
        return {"data": {"queries": [told]}, "success": True, "code": None, "message": None}
    if one["answer"] is None:
        return {"data": {"errorCode": code}, "code": code, "message": message, "success": False}
    answer: dict[str, Any] = one["answer"]
    return answer


def _in_chunks(document: dict[str, Any], rows: int) -> dict[str, Any]:
    """A result of which each chunk is the same."""
    data = document["data"]
    _CHUNK[:] = [base64.b64decode(data["rowsetBase64"])]
    count = min(rows // _CHUNK_ROWS, _MOST_CHUNKS)
    size = {"rowCount": _CHUNK_ROWS, "uncompressedSize": len(_CHUNK[0]), "compressedSize": len(_CHUNK[0])}
    chunks = [{"url": f"http://127.0.0.1:{sys.argv[1]}/chunk/{n}", **size} for n in range(count)]
    data |= {"rowsetBase64": "", "chunks": chunks, "chunkHeaders": {}, "total": count * _CHUNK_ROWS}
    return document


def _execute(body: bytes) -> bytes:
    connection = _server.shared_fs.connect("SHOP", "PUBLIC")
    cursor = connection.cursor()
    rows: list[Any] = []
    for statement in json.loads(body):
        cursor.execute(statement)
        rows = [list(row) for row in cursor.fetchall()]
    connection.close()
    return json.dumps(rows, default=str).encode()


_OWN: dict[str, Callable[[bytes], bytes]] = {
    "chunk": lambda _: _CHUNK[0],
    "_statements": _statements,
    "_execute": _execute,
}
"""Paths that the emulator has not."""


async def _inner(scope: Any, body: bytes) -> tuple[int, bytes]:
    """What the emulator itself answers."""
    sent: dict[str, Any] = {"status": 500, "body": b""}

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        if message["type"] == "http.response.start":
            sent["status"] = message["status"]
        else:
            sent["body"] += message.get("body", b"")

    await _server.app(scope, receive, send)
    return sent["status"], sent["body"]


if __name__ == "__main__":
    _server.shared_fs.create_database_on_connect = False
    _server.shared_fs.create_schema_on_connect = False
    front = Front(sys.argv[2], sys.argv[3], Path(sys.argv[4]).read_bytes())
    uvicorn.run(front, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
