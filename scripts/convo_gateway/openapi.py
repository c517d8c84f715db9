"""The HTTP interface as an OpenAPI document, served at `/openapi.json`.

In: nothing. Out: `DOCUMENT`. WebSockets have no place in OpenAPI: README.md describes them.
"""

from __future__ import annotations

from typing import Any

import convo

from .openai_audio import DIARIZED, FORMATS

_Json = dict[str, Any]


def _object(required: list[str], **properties: _Json) -> _Json:
    return {"type": "object", "required": required, "properties": properties}


def _text(description: str = "", **more: Any) -> _Json:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _array(items: _Json) -> _Json:
    return {"type": "array", "items": items}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


_NUMBER: _Json = {"type": "number"}
_INTEGER: _Json = {"type": "integer"}
_NULL: _Json = {"type": "null"}
_FAILURE: _Json = _object(["code", "message"], code=_text(), message=_text("one sentence"))

_SCHEMAS: _Json = {
    "Error": _object(["error"], error=_FAILURE),
    "OpenAIError": _object(
        ["error"],
        error=_object(
            ["message", "type", "param", "code"],
            message=_text(), type=_text(), param={"type": ["string", "null"]}, code={"type": ["string", "null"]},
        ),
    ),
    "Job": _object(["job_id"], job_id=_text()),
    "Word": _object(["word", "start", "end"], word=_text(), start=_NUMBER, end=_NUMBER, confidence=_NUMBER),
    "Segment": _object(
        ["segment", "start", "end", "text", "language", "confidence"],
        segment=_INTEGER, start=_NUMBER, end=_NUMBER, text=_text(), language=_text(), confidence=_NUMBER,
        words=_array(_ref("Word")), speaker={**_INTEGER, "description": "who says it, from 1"},
    ),
    "Speaker": _object(["speaker", "name"], speaker=_INTEGER, name=_text()),
    "Summary": _object(
        ["provider", "model", "title", "summary", "key_points", "action_items", "keywords", "language"],
        provider=_text(), model=_text(), title=_text(), summary=_text(), key_points=_array(_text()),
        action_items=_array(
            _object(
                ["text"], text=_text(), owner=_text(), due=_text(), sources=_array(_INTEGER)
            )
        ),
        keywords=_array(_text()), language=_text(), key_point_sources=_array(_array(_INTEGER)),
    ),
    "Result": _object(
        ["job_id", "kind", "status", "created", "title", "duration_s", "transcript", "segments", "summary"],
        job_id=_text(), kind=_text(enum=["live", "file"]), created=_NUMBER, title=_text(), duration_s=_NUMBER,
        transcript=_text(),
        status=_text(enum=["pending", "processing", "transcribed", "completed", "failed"]),
        segments=_array(_ref("Segment")),
        summary={"anyOf": [_ref("Summary"), _NULL]},
        speakers=_array(_ref("Speaker")),
        language=_text(), error=_FAILURE,
    ),
    "Jobs": _object(
        ["jobs"],
        jobs=_array(
            _object(
                ["job_id", "kind", "title", "status", "created", "duration_s"],
                job_id=_text(), kind=_text(enum=["live", "file"]), title=_text(),
                status=_text(enum=["pending", "processing", "transcribed", "completed", "failed"]),
                created=_NUMBER, duration_s=_NUMBER, language=_text(), error=_FAILURE,
            )
        ),
    ),
    "Hits": _object(
        ["hits"],
        hits=_array(
            _object(
                ["job_id", "source", "title", "segment", "start", "end", "text"],
                job_id=_text(), source=_text(enum=["segment", "summary"]), title=_text(), segment=_INTEGER,
                start=_NUMBER, end=_NUMBER, text=_text(), snippet=_text("the part of the text around what was found"),
                marks=_array(
                    {**_array(_INTEGER), "description": "from and to, in characters of the snippet", "maxItems": 2}
                ),
            )
        ),
    ),
    "Answer": _object(
        ["answer", "passages", "provider", "model", "dropped", "reason"],
        answer=_array(
            _object(
                ["text", "sources"], text=_text(), unverified=_array(_text()),
                sources={**_array(_INTEGER), "description": "places in `passages`, from 0"},
            )
        ),
        passages=_array(
            _object(
                ["job_id", "title", "created", "segment", "start", "end", "text", "speaker", "match"],
                job_id=_text(), title=_text(), created=_NUMBER, segment=_INTEGER, start=_NUMBER, end=_NUMBER,
                text=_text(), speaker={"type": ["string", "null"]}, match={"type": "boolean"},
            )
        ),
        provider=_text(), model=_text(), dropped=_INTEGER, reason={"type": ["string", "null"]},
    ),
    "Transcription": _object(["text"], text=_text()),
    "VerboseTranscription": _object(
        ["task", "language", "duration", "text"],
        task=_text(enum=["transcribe", "translate"]), language=_text(), duration=_NUMBER, text=_text(),
        segments=_array(
            _object(
                ["id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
                 "no_speech_prob"],
                id=_INTEGER, seek=_INTEGER, start=_NUMBER, end=_NUMBER, text=_text(), tokens=_array(_INTEGER),
                temperature=_NUMBER, avg_logprob=_NUMBER, compression_ratio=_NUMBER, no_speech_prob=_NUMBER,
            )
        ),
        words=_array(_ref("Word")),
    ),
    "DiarizedTranscription": _object(
        ["task", "duration", "text", "segments"],
        task={"const": "transcribe"}, duration=_NUMBER, text=_text(),
        segments=_array(
            _object(
                ["type", "id", "start", "end", "text", "speaker"],
                type={"const": "transcript.text.segment"}, id=_text(), start=_NUMBER, end=_NUMBER, text=_text(),
                speaker=_text("A, B, … in the order in which they speak, or the name of a voice that is remembered"),
            )
        ),
    ),
    "Model": _object(
        ["id", "object", "created", "owned_by"],
        id=_text(), object={"const": "model"}, created=_INTEGER, owned_by=_text(),
    ),
    "Models": _object(["object", "data"], object={"const": "list"}, data=_array(_ref("Model"))),
}  # fmt: skip


def _answer(description: str, schema: _Json | None = None, kind: str = "application/json") -> _Json:
    return {"description": description, **({"content": {kind: {"schema": schema}}} if schema is not None else {})}


def _errors(name: str, *statuses: str) -> _Json:
    words = {
        "400": "wrong request", "401": "no or a wrong token", "403": "not allowed", "404": "no such job or model",
        "408": "too slow", "409": "not in this state", "429": "too many streams of this job", "503": "try again later",
    }  # fmt: skip
    return {status: _answer(words[status], _ref(name)) for status in statuses}


def _multipart(required: list[str], **properties: _Json) -> _Json:
    schema = _object(required, file={"type": "string", "format": "binary"}, **properties)
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


_SOUND: _Json = {
    "description": "the sound", "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}
}  # fmt: skip
_JOB_ID: _Json = {"name": "job_id", "in": "path", "required": True, "schema": _text()}
_LIMIT: _Json = {
    "name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 100}
}  # fmt: skip
_MODEL: _Json = _text("one of the daemon's; whisper-1 and OpenAI's other names mean the one it has chosen")

_JOB_FIELDS: dict[str, _Json] = {
    "language": _text("such as en; detected unless given"),
    "languages": _text("instead of language: those that may be spoken, such as de,ko,en"),
    "prompt": _text("text before the first word, to set names and style"),
    "title": _text(),
    "model": _MODEL,
    "style": _text("of the summary, such as minutes"),
    "speakers": _text("off, auto, or how many there are: whether voices are told apart", default="off"),
    "channels": _text("split: each channel is a speaker", enum=["mix", "split"], default="mix"),
    "keep_audio": {
        "type": "boolean", "description": "whether the sound stays to be fetched; what the daemon does unless given"
    },
}  # fmt: skip


def _audio(operation: str, summary: str, formats: tuple[str, ...], **more: _Json) -> _Json:
    form = _multipart(
        ["file", "model"],
        model=_MODEL,
        prompt=_text(),
        response_format=_text(enum=list(formats), default="json"),
        temperature={"type": "number", "minimum": 0, "maximum": 1},
        stream={"type": "boolean", "default": False},
        **more,
    )
    kinds = ["DiarizedTranscription"] if DIARIZED in formats else []
    either = {"anyOf": [_ref(name) for name in (*kinds, "VerboseTranscription", "Transcription")]}
    answer = _answer("the text, in the format that was asked for", either)
    answer["content"] |= {"text/plain": {"schema": _text()}, "text/event-stream": {"schema": _text()}}
    errors = _errors("OpenAIError", "400", "401", "403", "404", "408", "503")
    return {"operationId": operation, "summary": summary, "requestBody": form, "responses": {"200": answer, **errors}}


DOCUMENT: _Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "convo gateway",
        "version": convo.__version__,
        "description": "Live captions and summaries over HTTP: the conversation API and OpenAI's audio API.",
        "license": {"name": "MIT", "identifier": "MIT"},
    },
    "security": [{"bearer": []}, {"query": []}],
    "paths": {
        "/api/v1/conversation/request": {
            "post": {
                "operationId": "requestConversation",
                "summary": "Upload a recording. Fields stand before the file.",
                "requestBody": _multipart(["file"], **_JOB_FIELDS),
                "responses": {
                    "202": _answer("the upload is whole and safe", _ref("Job")),
                    **_errors("Error", "400", "401", "403", "404", "408", "503"),
                },
            }
        },
        "/api/v1/conversation/result/{job_id}": {
            "get": {
                "operationId": "getResult",
                "summary": "Fetch what came of a job so far.",
                "parameters": [_JOB_ID],
                "responses": {
                    "200": _answer("the job", _ref("Result")),
                    **_errors("Error", "401", "403", "404", "503"),
                },
            }
        },
        "/api/v1/conversation/stream-events/{job_id}": {
            "get": {
                "operationId": "streamEvents",
                "summary": "Follow a job: transcript_segment, final_summary, progress, error; then the stream ends. "
                "With `speakers` or split channels, also speaker_label behind each segment, speakers_revised, "
                "speaker_renamed and speakers_merged.",
                "parameters": [
                    _JOB_ID,
                    {
                        "name": "Last-Event-ID", "in": "header", "schema": _INTEGER,
                        "description": "number of the last event that the client has; or `last_event_id` in the query",
                    },
                    {
                        "name": "include", "in": "query", "schema": _text(),
                        "description": "transcript_partial, summary_delta or both: events that are told only on demand",
                    },
                ],
                "responses": {
                    "200": _answer("server-sent events", _text(), "text/event-stream"),
                    "204": _answer("the job is over, and the client has all of its events"),
                    **_errors("Error", "400", "401", "403", "404", "429", "503"),
                },
            }
        },
        "/api/v1/conversation/list": {
            "get": {
                "operationId": "listConversations",
                "summary": "List jobs, newest first.",
                "parameters": [
                    _LIMIT,
                    {
                        "name": "before", "in": "query", "schema": _NUMBER,
                        "description": "`created` of the last job that the client has: older ones follow",
                    },
                ],
                "responses": {
                    "200": _answer("jobs", _ref("Jobs")), **_errors("Error", "400", "401", "403", "503")
                },
            }
        },
        "/api/v1/conversation/search": {
            "get": {
                "operationId": "searchConversations",
                "summary": "Find words in transcripts and summaries, best first.",
                "parameters": [{"name": "q", "in": "query", "required": True, "schema": _text()}, _LIMIT],
                "responses": {
                    "200": _answer("what was found", _ref("Hits")), **_errors("Error", "400", "401", "403", "503")
                },
            }
        },
        "/api/v1/ask": {
            "post": {
                "operationId": "ask",
                "summary": "Answer a question from what was said.",
                "description": "Server-sent events: `passages`, then a `sentence` each, and last `answer`, which is "
                "what holds; `restart` voids the sentences before it.",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": _object(
                                ["question"], question=_text(maxLength=1000),
                                job_ids={**_array(_text()), "maxItems": 20},
                                limit={**_INTEGER, "minimum": 1, "maximum": 40, "default": 12},
                            )
                        }
                    },
                },
                "responses": {
                    "200": _answer("events; the data of `answer`", _ref("Answer"), "text/event-stream"),
                    **_errors("Error", "400", "401", "403", "404", "408", "429", "503"),
                },
            }
        },
        "/api/v1/conversation/export/{job_id}": {
            "get": {
                "operationId": "exportConversation",
                "summary": "Fetch a transcript as a file.",
                "parameters": [
                    _JOB_ID,
                    {
                        "name": "format", "in": "query",
                        "schema": _text(enum=["txt", "srt", "vtt", "ttml", "json", "jsonl", "md"], default="txt"),
                    },
                ],
                "responses": {
                    "200": {"description": "the file", "content": {"*/*": {"schema": _text()}}},
                    **_errors("Error", "400", "401", "403", "404", "503"),
                },
            }
        },
        "/api/v1/conversation/audio/{job_id}": {
            "get": {
                "operationId": "getAudio",
                "summary": "Fetch the kept sound of a job that is over: a recording as it was sent, live audio as WAV.",
                "parameters": [
                    _JOB_ID,
                    {"name": "Range", "in": "header", "schema": _text(), "description": "one range of bytes"},
                ],
                "responses": {
                    "200": _SOUND,
                    "206": _SOUND,
                    "416": _answer("there is nothing in this range"),
                    **_errors("Error", "401", "403", "404", "409", "503"),
                },
            }
        },
        "/api/v1/conversation/{job_id}": {
            "patch": {
                "operationId": "renameConversation",
                "summary": "Give a job another title.",
                "parameters": [_JOB_ID],
                "requestBody": {
                    "required": True, "content": {"application/json": {"schema": _object(["title"], title=_text())}}
                },
                "responses": {
                    "204": _answer("it is called so"), **_errors("Error", "400", "401", "403", "404", "408", "503")
                },
            },
            "delete": {
                "operationId": "deleteConversation",
                "summary": "Forget a job, its audio and its text; one that is at work is stopped.",
                "parameters": [_JOB_ID],
                "responses": {"204": _answer("it is gone"), **_errors("Error", "401", "403", "404", "503")},
            },
        },
        "/api/v1/stream/create": {
            "post": {
                "operationId": "createStream",
                "summary": "Make a live job, to be spoken to at /api/v1/stream/ws/{job_id} (a WebSocket).",
                "requestBody": {
                    "required": False,
                    "content": {"application/json": {"schema": _object([], **_JOB_FIELDS)}},
                },
                "responses": {
                    "201": _answer("the job", _ref("Job")),
                    **_errors("Error", "400", "401", "403", "404", "408", "503"),
                },
            }
        },
        "/v1/audio/transcriptions": {
            "post": _audio(
                "createTranscription", "Transcribe a recording.", (*FORMATS, DIARIZED), language=_text("such as en"),
                **{"timestamp_granularities[]": _array(_text(enum=["word", "segment"]))},
            )
        },
        "/v1/audio/translations": {"post": _audio("createTranslation", "Transcribe a recording in English.", FORMATS)},
        "/v1/models": {
            "get": {
                "operationId": "listModels",
                "summary": "List speech models.",
                "responses": {
                    "200": _answer("models", _ref("Models")), **_errors("OpenAIError", "401", "403", "503")
                },
            }
        },
        "/v1/models/{model}": {
            "get": {
                "operationId": "getModel",
                "summary": "Describe a speech model.",
                "parameters": [{"name": "model", "in": "path", "required": True, "schema": _text()}],
                "responses": {
                    "200": _answer("the model", _ref("Model")), **_errors("OpenAIError", "401", "403", "404", "503")
                },
            }
        },
        "/": {
            "get": {
                "operationId": "page", "security": [], "summary": "The page for people.",
                "responses": {"200": _answer("the page", _text(), "text/html")},
            }
        },
        "/page/{name}": {
            "get": {
                "operationId": "pageFile", "security": [], "summary": "A file of the page.",
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": _text()}],
                "responses": {
                    "200": {"description": "the file", "content": {"*/*": {"schema": _text()}}},
                    **_errors("Error", "404"),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics", "security": [], "summary": "The gateway's own numbers, for Prometheus.",
                "responses": {"200": _answer("Prometheus' text format", _text(), "text/plain")},
            }
        },
        "/healthz": {
            "get": {
                "operationId": "healthz", "security": [],
                "summary": "Whether the gateway runs, and something listens where the daemon should.",
                "responses": {
                    "200": _answer("yes", _text(), "text/plain"), "503": _answer("no", _text(), "text/plain")
                },
            }
        },
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "description": "a token of the daemon"},
            "query": {"type": "apiKey", "in": "query", "name": "token", "description": "the same, for EventSource"},
        },
    },
}  # fmt: skip
