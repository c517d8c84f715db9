"""What describes the gateway is true of it: the OpenAPI document, the README's table, the containers."""

from __future__ import annotations

import fnmatch
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from starlette.routing import Route, WebSocketRoute

from convo_gateway import settings as settings_module
from convo_gateway.app import application
from convo_gateway.daemon_client import Daemon
from convo_gateway.metrics import Metrics
from convo_gateway.openapi import DOCUMENT
from convo_gateway.settings import Settings
from convod.listen.tokens import TokenFile
from tests.support.daemon import running
from tests.support.gateway import gateway

ROOT = Path(__file__).parents[2]


def routes() -> list[Any]:
    """Every route of the application."""
    app: Any = application(Settings(connect="ws://127.0.0.1:9"), Daemon("ws://127.0.0.1:9"), Metrics())
    return list(app._app.routes)


def test_the_openapi_document_is_valid_and_has_each_route():
    validate(DOCUMENT)  # type: ignore[arg-type]
    served = {
        (re.sub(r":\w+}", "}", route.path), method)
        for route in routes()
        if isinstance(route, Route) and route.path != "/openapi.json"
        for method in route.methods - {"HEAD"}
    }
    described = {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == served


def test_the_readme_names_each_route():
    section = (ROOT / "README.md").read_text().split("## Other dialects")[1].split("\n## ")[0]
    for route in routes():
        path = re.sub(r"/{\w+(:\w+)?}", "", route.path)
        assert path in section, path
        assert isinstance(route, Route | WebSocketRoute)


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: dict[str, list[tuple[str, str]]] = {}
    for line in filter(None, text.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found[rest.split(" AS ")[1]] = list(found.get(rest.split()[0], ()))
        list(found.values())[-1].append((word, rest))
    return found


def test_images_run_as_nobody_in_particular_and_say_how_they_are():
    built = stages()
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for name in ("convod", "gateway"):
        service = compose["services"][name]
        assert service["build"]["target"] in built
        stage = dict(built[name])
        assert stage["USER"] not in ("root", "0")
        assert "CMD" in stage["HEALTHCHECK"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        for volume in service.get("volumes", []):
            kept, _, place = volume.partition(":")
            assert kept in compose["volumes"]
            assert place in json.loads(stage["VOLUME"])
    services = compose["services"]
    assert services["ollama"]["profiles"] == ["ollama"]
    for name in ("worker", "redis", "postgres"):
        assert services[name]["profiles"] == ["cluster"]
        assert "ports" not in services[name]  # inside the network only
        assert all(volume.partition(":")[0] in compose["volumes"] for volume in services[name].get("volumes", []))
    assert services["worker"]["image"] == services["convod"]["image"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["worker"]["command"] == ["convod", "worker"]
    assert services["redis"]["command"] == ["redis-server", "--save", "", "--appendonly", "no"]
    cluster = dict(line.split("=", 1) for line in (ROOT / "cluster.env").read_text().splitlines() if line[0] != "#")
    assert cluster.pop("COMPOSE_PROFILES") == "cluster"
    assert {name: services["convod"]["environment"][name] for name in cluster} == {
        name: f"${{{name}:-}}" for name in cluster
    }
    postgres = services["postgres"]["environment"]
    assert cluster == {
        "CONVOD_ENGINE_BROKER": "redis://redis",
        "CONVOD_STORE_URL": "postgresql://{POSTGRES_USER}:{POSTGRES_PASSWORD}@postgres/{POSTGRES_DB}".format_map(
            postgres
        ),
    }
    assert all(port.startswith("127.0.0.1:") for port in compose["services"]["gateway"]["ports"])


def test_compose_reads_its_file():
    """By the Compose Specification's own schema, as there may be no container engine to ask."""
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load((ROOT / "compose.yaml").read_text()))


async def test_the_images_commands_serve_a_client_that_has_a_token(tmp_path: Path):
    """As processes, with the places and ports of this test."""
    places = {
        "/tmp/convod.sock": str(tmp_path / "s"),
        "unix:/tmp/convod.sock": f"unix:{tmp_path}/s",
        "/var/lib/convod/state": str(tmp_path / "state"),
        "ws://0.0.0.0:8765": "ws://0.0.0.0:0",
        "0.0.0.0:8766": "0.0.0.0:0",
    }

    def words(stage: str, instruction: str) -> list[str]:
        command = dict(stages()[stage])[instruction]
        return [places.get(word, word) for word in json.loads(command[command.index("[") :])]

    (tmp_path / "state").mkdir(mode=0o700)
    token = TokenFile(tmp_path / "state").add("phone")
    environment = {"CONVOD_LISTEN_OPEN_LOOPBACK": None}
    with running(tmp_path, *words("convod", "CMD")[1:], environment=environment) as daemon:
        program, *arguments = words("convod", "HEALTHCHECK")
        await trio.run_process([Path(sys.executable).with_name(program), *arguments], capture_stdout=True)
        places["ws://convod:8765"] = daemon.web
        with gateway(daemon.web, *words("gateway", "CMD")[1:]) as served:
            async with httpx.AsyncClient(base_url=served.url) as client:
                assert (await client.get("/healthz")).status_code == 200
                assert (await client.get("/v1/models")).status_code == 401
                known = await client.get("/v1/models", headers={"authorization": f"Bearer {token}"})
                assert known.status_code == 200


def test_what_the_image_copies_is_there_and_let_through():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for word, rest in stages()["build"]:
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, one) or source.startswith(f"{one}/") for one in allowed), source


def test_the_gateways_command_in_the_image_is_one():
    words = json.loads(dict(stages()["gateway"])["CMD"])
    assert words[0] == "convo-gateway"
    read = settings_module.read(words[1:], {"CONVO_GATEWAY_SPOOL_BYTES": "1000000000"})
    assert read.spool_bytes == 1_000_000_000
    assert read.port == 8766


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "0.0.0.0:1", "--connect", "ws://x"], "open to the network"),
        (["--connect", "unix:/x"], "every client would be this user"),
        (["--connect", "unix:/x", "--open-loopback", "--listen", "0.0.0.0:1", "--insecure"], "requires no token"),
        (["--connect", "http://x"], "ws://"),
        (["--listen", "here", "--connect", "ws://x"], "HOST:PORT"),
        (["--tls-cert", "x", "--connect", "ws://x"], "go together"),
        (["--stall-s", "0", "--connect", "ws://x"], "above zero"),
        (["--requests", "many", "--connect", "ws://x"], "requests"),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        settings_module.read(words, {})
    assert said in capsys.readouterr().err


def test_settings_come_from_the_environment_too():
    read = settings_module.read(
        ["--listen", "[::1]:5"],
        {"CONVO_GATEWAY_ORIGINS": "https://a https://b", "CONVO_URL": "ws://x", "CONVO_GATEWAY_LISTEN": "127.0.0.1:1"},
    )
    assert (read.origins, read.connect, read.host, read.port) == (("https://a", "https://b"), "ws://x", "::1", 5)
