"""A strict fake of Grafana's HTTP API, as far as `acr grafana` has any business with it.

There is no Grafana to test against, so this is its law, from the documentation of Grafana 12 and,
where that is silent, from the source:

- Every path but `/api/health` wants `Authorization: Bearer` with a known token (401), and the
  permission that the documentation names for it (403, naming the permission).
- A body is JSON with `Content-Type: application/json`. A path, a parameter of a query or a field of
  a body that is not documented is a mistake of ours: it is kept in `mistakes`, which tests want
  empty, and answered 400.
- Folders have a uid for ever, and a title that may change; two may have the same title. A uid that
  is taken: 409, or 412 since Grafana 13. Who may not read folders finds none; so does, for a while,
  who searches right after one was created. A folder by its uid is not asked for: of one that is not
  there an editor is told 403.
- A dashboard is saved as a new version. The uid is taken and the body names another version than
  the newest: 412 `version-mismatch`, unless `overwrite`. A title that another dashboard in the
  folder has: 412 `name-exists`, as before Grafana 11. One that a file provisions: 400. A folder
  that is not there: 400.
- What is answered of a dashboard is not what was sent: `id` and `version` are put into it, its
  `schemaVersion` is raised and defaults are filled in.
- Versions are listed newest first, in an object since 11.6, as a list before that.
- Annotations: `tags` must all match, without regard to case, as MySQL has it; the newest end comes
  first; there is `limit`, by default 100, and no second page. Without `time` it is now; an end
  before the beginning changes places with it, a missing one is the beginning. No text: 400. A part
  of a tag, before or after its first colon, beyond 100 characters: 500, as its databases have it;
  all tags beyond 500: 400. PATCH leaves what is null, 0 or "", but takes `tags: []` at its word.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "glsa_of_an_editor"
EDITOR = frozenset(
    {
        *("folders:read", "folders:create", "datasources:read"),
        *("dashboards:read", "dashboards:create", "dashboards:write"),
        *("annotations:read", "annotations:create", "annotations:write"),
    }
)
"""What the basic role has of what is asked for here."""
PROMETHEUS = {"id": 1, "uid": "prom", "name": "Prometheus", "type": "prometheus", "isDefault": True}
LOKI = {"id": 2, "uid": "loki", "name": "Loki", "type": "loki", "isDefault": False}
MAX_TAG_PART, MAX_TAGS = 100, 500

Answer = tuple[int, Any]
Behaviour = Callable[["Exchange"], bool]
"""What happens first; whether that was the answer."""


@dataclass
class Saved:
    """A dashboard, and all its versions, the oldest first."""

    id: int
    folder_uid: str
    versions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def newest(self) -> dict[str, Any]:
        return self.versions[-1]


class FakeGrafana(ThreadingHTTPServer):
    """Keeps everything in memory; tests read and change it as people would."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.prefix = ""
        """Path below which it serves."""
        self.version = "12.1.1"
        self.tokens: dict[str, frozenset[str]] = {TOKEN: EDITOR}
        self.datasources: list[dict[str, Any]] = [LOKI, PROMETHEUS]
        self.folders: dict[str, dict[str, Any]] = {}
        self.uid_taken = 409
        self.is_search_behind = False
        self.dashboards: dict[str, Saved] = {}
        self.provisioned: set[str] = set()
        self.annotations: dict[int, dict[str, Any]] = {}
        self.requests: list[str] = []
        """Method and path of each, in order."""
        self.mistakes: list[str] = []
        self.faults: list[tuple[str, Behaviour]] = []
        """Pattern of `METHOD /path`, and what happens then; each once, in order."""
        self.lock = threading.RLock()

    @property
    def writes(self) -> list[str]:
        return [one for one in self.requests if not one.startswith("GET")]

    def edit(self, uid: str, message: str = "", **changes: Any) -> None:
        """Save a dashboard as a person does in the browser."""
        there = self.dashboards[uid]
        self._save_version(there, {**there.newest["data"], **changes}, message, "ana")

    def save(self, body: dict[str, Any]) -> Answer:
        document, folder_uid = body["dashboard"], body["folderUid"]
        uid, there = document["uid"], self.dashboards.get(document["uid"])
        if folder_uid not in self.folders:
            return 400, {"message": "folder not found"}
        if uid in self.provisioned:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if there and not body["overwrite"] and document.get("version") != there.newest["version"]:
            words = "The dashboard has been changed by someone else"
            return 412, {"status": "version-mismatch", "message": words}
        for other, one in self.dashboards.items():
            same = one.newest["data"]["title"] == document["title"]
            if other != uid and same and one.folder_uid == folder_uid:
                words = "A dashboard with the same name in the folder already exists"
                return 412, {"status": "name-exists", "message": words}
        if there is None:
            there = self.dashboards[uid] = Saved(id=len(self.dashboards) + 1, folder_uid=folder_uid)
        there.folder_uid = folder_uid
        number = self._save_version(there, document, body["message"], "sa-1-acr")
        told = {"id": there.id, "uid": uid, "url": self.place(uid), "status": "success"}
        return 200, {**told, "version": number, "slug": "slug"}

    def place(self, uid: str) -> str:
        return f"{self.prefix}/d/{uid}/slug"

    def _save_version(self, there: Saved, document: dict[str, Any], message: str, by: str) -> int:
        number = len(there.versions) + 1
        data = {**deepcopy(document), "id": there.id, "version": number, "schemaVersion": 99}
        data.setdefault("liveNow", False)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        saved = {"version": number, "createdBy": by, "created": at, "message": message}
        there.versions.append({**saved, "data": data})
        return number

    def annotation(self, run_id: str, topic: str) -> list[dict[str, Any]]:
        """Those of a run that are filed under a topic, in the order of time."""
        found = [
            one for one in self.annotations.values() if {f"run:{run_id}", topic} <= {*one["tags"]}
        ]
        return sorted(found, key=lambda one: (one["time"], one["id"]))


class Exchange(BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    server: FakeGrafana
    body: Any
    query: dict[str, list[str]]
    is_mute = False
    """Whether the answer gets lost on its way."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def handle_request(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query, keep_blank_values=True)
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        what = f"{self.command} {parts.path.removeprefix(self.server.prefix)}"
        with self.server.lock:
            self.server.requests.append(what)
            fault = next((one for one in self.server.faults if re.match(one[0], what)), None)
            if fault:
                self.server.faults.remove(fault)
        if fault and fault[1](self):
            return
        with self.server.lock:
            status, answer = self.answered(what, raw)
        if self.is_mute:
            self.close_connection = True
        else:
            self.send(status, json.dumps(answer))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_request

    def answered(self, what: str, raw: bytes) -> Answer:
        if not self.path.startswith(f"{self.server.prefix}/"):
            return 404, {"message": "Not found"}
        for pattern, permission, answer in ROUTES:
            if match := re.fullmatch(pattern, what):
                refusal = self.refusal(permission) or self.unreadable(what, raw)
                return refusal or answer(self, *match.groups())
        return self.mistaken(f"{what} is not documented", 404)

    def refusal(self, permission: str | None) -> Answer | None:
        """The answer to who may not ask this."""
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        if permission is None:
            return None
        if kind != "Bearer" or token not in self.server.tokens:
            return 401, {"message": "Invalid API key"}
        if permission and permission not in self.server.tokens[token]:
            words = (
                "You'll need additional permissions to perform this action. Permissions needed: "
            )
            return 403, {"title": "Access denied", "message": f"{words}{permission}"}
        return None

    def unreadable(self, what: str, raw: bytes) -> Answer | None:
        """The answer to a body that is none; else it is read."""
        kind = self.headers.get("content-type", "").partition(";")[0]
        if raw and kind != "application/json":
            return self.mistaken(f"{what}: a body of {kind!r}")
        self.body = json.loads(raw) if raw else None
        return None

    def send(self, status: int, text: str, kind: str = "application/json", **more: str) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **more}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def mistaken(self, text: str, status: int = 400) -> Answer:
        self.server.mistakes.append(text)
        return status, {"message": text}

    def unknown(self, *, fields: str = "", query: str = "") -> Answer | None:
        """The answer to what is not documented here."""
        if strange := {*(self.body or {})} - {*fields.split()}:
            return self.mistaken(f"{self.path}: fields {sorted(strange)}")
        if strange := {*self.query} - {*query.split()}:
            return self.mistaken(f"{self.path}: parameters {sorted(strange)}")
        return None

    def health(self) -> Answer:
        told = {"database": "ok", "version": self.server.version, "commit": "abc"}
        return self.unknown() or (200, told)

    def create_folder(self) -> Answer:
        if strange := self.unknown(fields="uid title parentUid"):
            return strange
        if self.body["uid"] in self.server.folders:
            words = "the folder has been changed by someone else"
            return self.server.uid_taken, {"message": words}
        made = {"id": len(self.server.folders) + 1, "url": "/dashboards/f/x", **self.body}
        self.server.folders[self.body["uid"]] = made
        return 200, made

    def search(self) -> Answer:
        if strange := self.unknown(query="type limit page"):
            return strange
        if self.query["type"] != ["dash-folder"]:
            return self.mistaken("searched for other things than folders")
        limit, page = int(self.query["limit"][0]), int(self.query["page"][0])
        is_blind = self.refusal("folders:read") is not None or self.server.is_search_behind
        found = [] if is_blind else [*self.server.folders.values()]
        return 200, found[limit * (page - 1) : limit * page]

    def list_datasources(self) -> Answer:
        return self.unknown() or (200, self.server.datasources)

    def show_dashboard(self, uid: str) -> Answer:
        if (there := self.server.dashboards.get(uid)) is None:
            return 404, {"message": "Dashboard not found"}
        meta: dict[str, Any] = {"type": "db", "url": self.server.place(uid)}
        meta |= {"folderUid": there.folder_uid, "provisioned": uid in self.server.provisioned}
        return self.unknown() or (200, {"dashboard": there.newest["data"], "meta": meta})

    def list_versions(self, uid: str) -> Answer:
        if (there := self.server.dashboards.get(uid)) is None:
            return 404, {"message": "Dashboard not found"}
        found = [{**one, "data": None} for one in reversed(there.versions)]
        is_old = self.server.version < "11.6"
        told = found if is_old else {"continueToken": "", "versions": found}
        return self.unknown(query="limit start") or (200, told)

    def save_dashboard(self) -> Answer:
        known = self.unknown(fields="dashboard folderUid message overwrite")
        there = self.body["dashboard"]["uid"] in self.server.dashboards
        refusal = self.refusal("dashboards:write" if there else "dashboards:create")
        return known or refusal or self.server.save(self.body)

    def list_annotations(self) -> Answer:
        known = "from to limit alertId dashboardUID panelId userId type tags"
        if strange := self.unknown(query=known):
            return strange
        limit = int(self.query.get("limit", ["100"])[0])
        tags = {tag.lower() for tag in self.query.get("tags", [])}
        there = self.server.annotations.values()
        found = [one for one in there if tags <= {tag.lower() for tag in one["tags"]}]
        found.sort(key=lambda one: (one["timeEnd"], one["time"]), reverse=True)
        return 200, found[:limit]

    def create_annotation(self) -> Answer:
        if strange := self.unknown(fields="dashboardUID panelId time timeEnd tags text"):
            return strange
        if not self.body.get("text"):
            return 400, {"message": "Failed to save annotation"}
        tags = self.body.get("tags") or []
        if len(json.dumps(tags)) > MAX_TAGS:
            return 400, {"message": "Tags length exceeds the maximum allowed"}
        if any(len(part) > MAX_TAG_PART for tag in tags for part in tag.split(":", 1)):
            return 500, {"message": "Failed to save annotation"}
        start = self.body.get("time") or time.time_ns() // 1_000_000
        start, end = sorted((start, self.body.get("timeEnd") or start))
        number = max(self.server.annotations, default=0) + 1
        made = {"id": number, "alertId": 0, "text": self.body["text"], "tags": tags}
        made |= {"dashboardUID": self.body.get("dashboardUID"), "time": start, "timeEnd": end}
        self.server.annotations[number] = made
        return 200, {"message": "Annotation added", "id": number}

    def patch_annotation(self, number: str) -> Answer:
        if strange := self.unknown(fields="time timeEnd tags text"):
            return strange
        if (there := self.server.annotations.get(int(number))) is None:
            return 404, {"message": "Annotation not found"}
        there |= {name: value for name, value in self.body.items() if value or value == []}
        return 200, {"message": "Annotation patched"}


ROUTES: list[tuple[str, str | None, Callable[..., Answer]]] = [
    ("GET /api/health", None, Exchange.health),
    ("GET /api/search", "", Exchange.search),
    ("POST /api/folders", "folders:create", Exchange.create_folder),
    ("GET /api/datasources", "datasources:read", Exchange.list_datasources),
    ("POST /api/dashboards/db", "dashboards:read", Exchange.save_dashboard),
    ("GET /api/dashboards/uid/([a-z0-9-]+)", "dashboards:read", Exchange.show_dashboard),
    ("GET /api/dashboards/uid/([a-z0-9-]+)/versions", "dashboards:write", Exchange.list_versions),
    ("GET /api/annotations", "annotations:read", Exchange.list_annotations),
    ("POST /api/annotations", "annotations:create", Exchange.create_annotation),
    (r"PATCH /api/annotations/(\d+)", "annotations:write", Exchange.patch_annotation),
]
"""Pattern of method and path, the permission for it ("": any token; None: nothing), the answer."""


def reply(status: int, text: str, kind: str = "application/json", **headers: str) -> Behaviour:
    """Answer this, whatever was asked."""

    def behave(exchange: Exchange) -> bool:
        exchange.send(status, text, kind, **headers)
        return True

    return behave


def meanwhile(act: Callable[[], object]) -> Behaviour:
    """Let this happen just before."""

    def behave(_: Exchange) -> bool:
        act()
        return False

    return behave


def hang(exchange: Exchange) -> bool:
    """Answer nothing until the other side goes away."""
    exchange.rfile.read(1)
    exchange.close_connection = True
    return True


def lose_answer(exchange: Exchange) -> bool:
    """Do what was asked, and break the connection instead of saying so."""
    exchange.is_mute = True
    return False


@contextmanager
def fake_grafana() -> Iterator[FakeGrafana]:
    """A fake that serves; in the end nothing must have been asked that is not documented."""
    with FakeGrafana() as fake:
        thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fake
        finally:
            fake.shutdown()
            thread.join()
    assert fake.mistakes == [], fake.mistakes
