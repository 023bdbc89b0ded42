"""The control API described for programs: OpenAPI 3.0."""

from __future__ import annotations

from typing import Any

from provisioner.agent import VERSION, pods
from provisioner.agent.control.exposition import INFERENCE_STATES, STATES
from provisioner.agent.control.web import JSON
from provisioner.agent.inference import backend

Json = dict[str, Any]
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
MAYBE: Json = {"type": "boolean", "nullable": True}
COUNT: Json = {"type": "integer", "minimum": 0}
MODEL_NAME: Json = {
    "type": "string",
    "pattern": f"^{backend.MODEL_NAME.pattern}$",
    "example": "llama3.2",
}

POD_NAME: Json = {"type": "string", "pattern": f"^{pods.NAME.pattern}$"}
TAIL: Json = {
    "name": "tail",
    "in": "query",
    "description": "How many lines.",
    "schema": {
        "type": "integer",
        "minimum": 1,
        "maximum": pods.MOST_LOG_LINES,
        "default": pods.LOG_LINES,
    },
}


def _object(**properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: Json = {
    "Error": _object(error=TEXT),
    "Health": _object(status={"type": "string", "enum": ["ok"]}),
    "Status": _object(
        state={"type": "string", "enum": list(STATES)},
        machine_id=TEXT, pool=TEXT, gateway=TEXT, hostname=TEXT,
        since=NUMBER, last_keepalive={**NUMBER, "nullable": True}, last_error=TEXT,
        version=TEXT, pid=COUNT, started=NUMBER, keepalives=COUNT, failures=COUNT, gpus=COUNT,
        metrics={"type": "object", "additionalProperties": NUMBER},
        tunnel=_object(outward=MAYBE, inward=MAYBE), problems=_list(TEXT),
    ),
    "Pull": _object(
        model=TEXT, status={"type": "string", "enum": ["pulling", "pulled", "failed"]},
        detail=TEXT, completed=COUNT, total=COUNT, error=TEXT,
    ),
    "Inference": _object(
        status={"type": "string", "enum": list(INFERENCE_STATES)},
        backend=TEXT, endpoint=TEXT, models=_list(TEXT), loaded=_list(TEXT),
        pulls=_list(_ref("Pull")), error=TEXT,
    ),
    "Pod": _object(name=TEXT, status=TEXT, ready=COUNT, containers=COUNT, age=TEXT),
    "Pods": _object(pods=_list(_ref("Pod"))),
    "Model": _object(name=TEXT, size=COUNT, loaded={"type": "boolean"}),
    "Models": _object(models=_list(_ref("Model"))),
    "Deleted": _object(deleted=TEXT),
    "PullRequest": {
        **_object(model=MODEL_NAME, insecure={"type": "boolean", "default": False}),
        "required": ["model"],
    },
}  # fmt: skip

MAY_FAIL = {
    400: "The request can't be understood.",
    401: "The bearer token is missing or wrong.",
    403: "Asked by a web page.",
    409: "The server of models can't do that, or not now.",
    415: "The body is not JSON.",
    429: "Too many requests; Retry-After says when to come again.",
    404: "There is no such model or pod.",
    503: "What was asked does not answer, or can't be started.",
}


def _answers(status: int, text: str, content: Json, *failures: int) -> Json:
    answers: Json = {str(status): {"description": text, "content": content}}
    error = {JSON: {"schema": _ref("Error")}}
    for each in sorted({400, 401, 403, 429, *failures}):
        answers[str(each)] = {
            "description": MAY_FAIL[each],
            "content": error,
        }
    return answers


def _operation(name: str, text: str, status: int, schema: str, *failures: int) -> Json:
    content = {JSON: {"schema": _ref(schema)}}
    return {
        "operationId": name,
        "summary": text,
        "responses": _answers(status, text, content, *failures),
    }


def _text(name: str, text: str, kind: str, *failures: int) -> Json:
    content = {kind: {"schema": TEXT}}
    answers = _answers(200, text, content, *failures)
    return {"operationId": name, "summary": text, "responses": answers}


def _path(name: str, schema: Json) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": schema}


PATHS: Json = {
    "/health": {"get": {**_operation("health", "The agent lives.", 200, "Health"), "security": []}},
    "/status": {"get": _operation("status", "How the machine stands at the gateway.", 200,
                                  "Status")},
    "/metrics": {"get": _text("metrics", "For Prometheus.", "text/plain")},
    "/events": {
        "get": _text("events", "Log lines, changes of state and progress of pulls, as they come.",
                     "text/event-stream")
    },
    "/openapi.json": {"get": {
        "operationId": "openapi",
        "summary": "This document.",
        "responses": _answers(200, "This document.", {JSON: {"schema": {"type": "object"}}}),
    }},
    "/pods": {"get": _operation("pods", "The pods of the gateway's Jobs.", 200, "Pods", 503)},
    "/pods/{name}/log": {"get": {
        **_text("podLog", "The end of what a pod wrote.", "text/plain", 404, 503),
        "parameters": [_path("name", POD_NAME), TAIL],
    }},
    "/inference/status": {"get": _operation("inferenceStatus", "How the server of models fares.",
                                            200, "Inference")},
    "/inference/start": {"post": _operation("inferenceStart", "Start the server of models.", 202,
                                            "Inference", 409, 503)},
    "/inference/stop": {"post": _operation("inferenceStop", "Stop the server of models.", 202,
                                           "Inference", 409, 503)},
    "/inference/pull": {"post": {
        **_operation("inferencePull", "Begin to fetch a model.", 202, "Pull", 409, 415, 503),
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref("PullRequest")}}},
    }},
    "/inference/models": {"get": _operation("inferenceModels", "The models on the disk.", 200,
                                            "Models", 503)},
    "/inference/models/{name}": {"delete": {
        **_operation("inferenceDelete", "Remove a model.", 200, "Deleted", 404, 409, 503),
        "parameters": [_path("name", MODEL_NAME)],
    }},
}  # fmt: skip

DOCUMENT: Json = {
    "openapi": "3.0.3",
    "info": {
        "title": "b9agent control API",
        "version": VERSION,
        "description": "What the owner of a worker asks of its agent.",
    },
    "paths": PATHS,
    "components": {
        "schemas": SCHEMAS,
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"token": []}],
}
