"""Every endpoint once, in an order that makes sense, with the examples of the OpenAPI document."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

RUN = "/v1/runs/{run_id}"
STEPS = f"{RUN}/steps"
ONE_STEP = f"{STEPS}/{{step}}"
SETTINGS = f"{RUN}/settings"
STREAMS = ("/v1/stream", f"{RUN}/stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """One request.

    Attributes:
        path: as the document has it.
        query: of the request.
        body: None: the example of the document, where it has one.
        answer: the status to come.
    """

    method: str
    path: str
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    answer: int = 200


def get(path: str, **query: Any) -> Stop:
    return Stop(method="GET", path=path, query=query)


def post(path: str, body: Any = None, answer: int = 200) -> Stop:
    return Stop(method="POST", path=path, body=body, answer=answer)


def stops(run_id: str) -> Iterator[Stop]:
    """The tour, for a run that does not exist."""
    yield from (get("/healthz"), get("/readyz"), get("/metrics"), get("/v1/alerts"))
    yield from (get("/v1/me"), get("/v1/fields"))
    yield from (Stop(method="PATCH", path="/v1/defaults"), get("/v1/defaults"))
    yield post("/v1/runs", {"id": run_id, "tags": {"team": "math"}}, 201)
    yield post(STEPS)
    yield post(STEPS, [{"step": step, "rewards": [[1, 0], [step % 2, 0]]} for step in (2, 3)])
    yield from (get(STEPS), get(STEPS, fields="acr", points=4), get(STEPS, format="csv"))
    yield from (get(STEPS, fields="acr", bins=2), get(STEPS, fields="acr", last=2))
    yield from (get(ONE_STEP), get(f"{ONE_STEP}/groups"))
    yield from (Stop(method="PATCH", path=SETTINGS), get(SETTINGS), get(f"{SETTINGS}/history"))
    yield from (post(f"{RUN}/overrides", answer=201), post(f"{RUN}/overrides/{{number}}/end"))
    yield from (post(f"{RUN}/kill"), post(f"{RUN}/rearm"), post(f"{RUN}/commands"))
    yield from (get(RUN), Stop(method="PATCH", path=RUN), get("/v1/runs", tag="team:math"))
    yield from (get(f"{RUN}/events"), get(f"{RUN}/diagnosis"), get(f"{RUN}/forecast"))
    yield from (post(f"{RUN}/result"), get(STREAMS[0]), get(STREAMS[1]))
    yield post("/v1/runs", {"id": run_id, "resume_from_step": 2})
    yield post(STEPS, {"step": 3, "attempt": 2, "rewards": [[1, 1], [0, 0]]})
    yield post(f"{RUN}/end", {"attempt": 2})
    yield from (get(f"{RUN}/export"), post(f"{RUN}/import", "the export", 201))
    yield from (Stop(method="DELETE", path=RUN), post(f"{RUN}/restore"))
    yield Stop(method="DELETE", path=RUN)
    yield Stop(method="DELETE", path=RUN, query={"purge": "true"}, answer=204)


class Tour:
    """A walk through an API, which notes where it was."""

    def __init__(self, client: httpx.Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._exported = b""
        self.document: dict[str, Any] = client.get("/openapi.json").json()
        self.seen: set[tuple[str, str]] = set()

    def go(self) -> None:
        """All of it; fails at the first answer that is not the one to come."""
        for stop in stops(self._run_id):
            self._at(stop)

    @property
    def all(self) -> set[tuple[str, str]]:
        """Every (method, path) of the document."""
        paths = self.document["paths"].items()
        return {(method.upper(), path) for path, found in paths for method in found}

    def _at(self, stop: Stop) -> None:
        self.seen.add((stop.method, stop.path))
        is_import = stop.path.endswith("/import")
        run_id = f"{self._run_id}-again" if is_import else self._run_id
        url = stop.path.format(run_id=run_id, step=1, number=1)
        if stop.path in STREAMS:
            with self._client.stream("GET", url) as reply:
                assert reply.status_code == stop.answer, url
            return
        if is_import:
            lines = {"content-type": "application/x-ndjson"}
            reply = self._client.post(url, content=self._exported, headers=lines)
        else:
            body = None if stop.method == "GET" else self._body(stop)
            reply = self._client.request(stop.method, url, params=stop.query, json=body)
        assert reply.status_code == stop.answer, (url, reply.text)
        if stop.path.endswith("/export"):
            self._exported = reply.content

    def _body(self, stop: Stop) -> Any:
        """What is said, or else the document's example."""
        operation = self.document["paths"][stop.path][stop.method.lower()]
        if stop.body is not None or "requestBody" not in operation:
            return stop.body
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        schema = schema.get("anyOf", [schema])[0]
        name = schema["$ref"].rpartition("/")[2]
        return self.document["components"]["schemas"][name]["examples"][0]
