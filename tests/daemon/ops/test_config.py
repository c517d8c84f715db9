from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import msgspec
import pytest

from convod import __main__
from convod.ops import config
from convod.ops.config import BadSettings, keys


@pytest.fixture(autouse=True)
def _no_system_file(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "none.toml")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "given.toml"
        file.write_text(text)
        return file

    return write


def fault(*args, **options) -> str:
    with pytest.raises(BadSettings) as bad:
        config.load(*args, **options)
    assert "\n" not in str(bad.value)
    return str(bad.value)


# --- precedence -------------------------------------------------------------------------------------------


def test_without_anything_the_defaults_are_in_force():
    settings, file = config.load({}, {})
    assert settings == config.Settings()
    assert file is None


@pytest.mark.parametrize(
    ("flag", "environment", "text", "model"),
    [
        (None, None, None, "auto"),
        (None, None, "from-file", "from-file"),
        (None, "from-environment", "from-file", "from-environment"),
        ("from-flag", "from-environment", "from-file", "from-flag"),
        ("from-flag", None, "from-file", "from-flag"),
        ("from-flag", None, None, "from-flag"),
        (None, "from-environment", None, "from-environment"),
    ],
)
def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(
    write, flag, environment, text, model
):
    file = write(f'[engine]\nmodel = "{text}"\n') if text else None
    settings, used = config.load(
        {"engine.model": flag}, {"CONVOD_MODEL": environment} if environment else {}, file
    )  # fmt: skip
    assert settings.engine.model == model
    assert used == file


def test_one_place_does_not_hide_the_other_settings_of_another(write):
    file = write('drain_s = 3.0\n[engine]\nmodel = "small"\nworkers = 2\n')
    settings, _ = config.load({"engine.device": "cpu"}, {"CONVOD_ENGINE_WORKERS": "3"}, file)
    assert (settings.engine.model, settings.engine.workers, settings.engine.device) == ("small", 3, "cpu")
    assert settings.drain_s == 3.0


def test_the_users_file_goes_before_the_systems(tmp_path, monkeypatch):
    system = tmp_path / "system.toml"
    system.write_text("drain_s = 1.0\n")
    monkeypatch.setattr(config, "SYSTEM_FILE", system)
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert config.load({}, environment) == (config.Settings(drain_s=1.0), system)
    users = tmp_path / "config" / "convod" / "convod.toml"
    users.parent.mkdir(parents=True)
    users.write_text("drain_s = 2.0\n")
    assert config.load({}, environment) == (config.Settings(drain_s=2.0), users)
    assert config.load({}, {"HOME": str(tmp_path / "nobody")})[1] == system


@pytest.mark.parametrize(("short", "key"), config.SHORT.items())
def test_short_names_in_the_environment_are_settings(short, key):
    value = {"DEVICE": "cpu", "COMPUTE_TYPE": "int8"}.get(short, "ws://a:1")
    settings, _ = config.load({}, {f"CONVOD_{short}": value})
    section, name = key.split(".")
    assert getattr(getattr(settings, section), name) in (value, [value])


PATTERNS = {"listen.socket_mode": "0660", "metrics.http": "127.0.0.1:9464", "hooks.url": "http://127.0.0.1/"}


def test_every_setting_can_be_given_in_the_environment_and_in_a_file(write):
    text = {bool: "true", int: "7", float: "7.5", str: "debug"}
    for key in keys():
        kind = config.setting_types()[key]
        if key in PATTERNS:
            kind, value = str, PATTERNS[key]
        elif get_origin(kind) is Literal:
            kind, value = str, get_args(kind)[-1]
        elif get_origin(kind) is list:
            (of,) = get_args(kind)
            kind, value = list[str], ",".join(get_args(of)[-2:]) if get_origin(of) is Literal else "ws://a:1,ws://b:2"
        elif get_origin(kind) is Annotated:
            kind, bounds = get_args(kind)
            # A number that is within the bounds and not the default of any setting.
            least, most = bounds.ge or 0, bounds.le or math.inf
            value = str(max(7, least) + (1 if kind is int else 0.5) if most > 7 else (least + 2 * most) / 3)
        else:
            value = text[kind]
        settings, _ = config.load({}, {config.ENVIRONMENT + key.replace(".", "_").upper(): value})
        assert settings != config.Settings(), key
        listed = json.dumps(value.split(","))
        plain = {bool: value, int: value, float: value, list[str]: listed}.get(kind, f'"{value}"')
        section, _, name = key.rpartition(".")
        file = write(f"[{section}]\n{name} = {plain}\n" if section else f"{name} = {plain}\n")
        assert config.load({}, {}, file)[0] == settings, key


def test_no_two_settings_share_a_name_in_the_environment():
    names = [key.replace(".", "_").upper() for key in keys()]
    assert len(names) == len(set(names))
    assert not set(names) & set(config.SHORT)


@pytest.mark.parametrize(
    ("text", "urls"), [("", []), ("ws://a:1", ["ws://a:1"]), ("ws://a:1,, ws://b:2", ["ws://a:1", "ws://b:2"])]
)
def test_a_list_in_the_environment_is_divided_by_commas(text, urls):
    assert config.load({}, {"CONVOD_LISTEN": text})[0].listen.websocket == urls


def test_a_secret_of_another_room_is_no_setting():
    assert config.load({}, {"CONVOD_OPENAI_KEY": "sk-1", "CONVO_URL": "x"})[0] == config.Settings()


def test_the_state_directory_is_the_users_unless_it_is_given():
    assert config.load({}, {"CONVOD_STATE_DIR": "/srv/convod"})[0].state_path == Path("/srv/convod")
    assert config.load({}, {})[0].state_path.name == "convod"
    assert "~" not in str(config.load({"state_dir": "~/x"}, {})[0].state_path)


# --- faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("[engine]\nmodle = 'x'\n", "engine.modle", "one of batch, beat_s, broker, "),
        ("[engine]\nmodle = 'x'\n", "engine.modle", "(perhaps you mean engine.model)"),
        ("model = 'x'\n", "model", "(perhaps you mean engine.model)"),
        ("[limits]\nmessage_bytes = 1\n", "limits.message_bytes", "(perhaps you mean listen.message_bytes)"),
        ("[motor]\nmodel = 'x'\n", "motor", "one of drain_s, state_dir, or one of the sections engine, hooks, limits"),
        ("[engines]\nmodel = 'x'\n", "engines", "(perhaps you mean engine)"),
        ("engine = 'x'\n", "engine", "a section [engine]"),
        ("[engine]\nmodel = 3\n", "engine.model", "text"),
        ("[engine]\nworkers = '3'\n", "engine.workers", "a whole number"),
        ("[engine]\nworkers = 2.5\n", "engine.workers", "a whole number"),
        ("[engine]\ndeadline_s = 'long'\n", "engine.deadline_s", "a number"),
        ("drain_s = true\n", "drain_s", "a number"),
        ("[spool]\nfsync = 1\n", "spool.fsync", "true or false"),
        ("[engine]\ndevice = 'gpu'\n", "engine.device", "'auto' or 'cpu' or 'cuda', not 'gpu'"),
        ("[engine]\ncompute_type = 'int7'\n", "engine.compute_type", "or 'int8' or "),
        ("[listen]\nwebsocket = 'ws://a:1'\n", "listen.websocket", "a list of ws://HOST:PORT or wss://HOST:PORT"),
        ("[listen]\nwebsocket = [1]\n", "listen.websocket", "a list of ws://HOST:PORT or wss://HOST:PORT"),
        ("[listen]\nwebsocket = ['http://a:1']\n", "listen.websocket", "a list of ws://HOST:PORT or wss://HOST:PORT"),
        ("[listen]\nwebsocket = ['ws://']\n", "listen.websocket", "a list of ws://HOST:PORT or wss://HOST:PORT"),
        ("[listen]\norigins = 'http://a'\n", "listen.origins", "a list of texts"),
        ("[listen]\nsocket_mode = '999'\n", "listen.socket_mode", 'an octal mode such as "0660"'),
        ("[metrics]\nhttp = 'here'\n", "metrics.http", 'HOST:PORT, or "" for none'),
        ("[summary]\ncontext_tokens = -1\n", "summary.context_tokens", "a whole number from 0"),
        ("[summary]\ntotal_timeout_s = 0\n", "summary.total_timeout_s", "a number above 0"),
        ("[log]\nlevel = 'loud'\n", "log.level", "'debug' or 'info' or 'warning' or 'error'"),
        ("[log]\nformat = 'xml'\n", "log.format", "'text' or 'json'"),
        ("state_dir = 2024-01-01\n", "state_dir", "text"),
        ("[engine.model]\nx = 1\n", "engine.model", "text"),
    ],
)
def test_a_wrong_line_in_the_file_is_one_line_with_the_file_the_key_and_what_was_expected(write, text, key, expected):
    file = write(text)
    assert f"{file}: {key}: expected " in (said := fault({}, {}, file))
    assert expected in said


@pytest.mark.parametrize(
    ("text", "named"), [("[engine\n", "is no TOML"), ("a = 1\na = 2\n", "is no TOML"), ("x", "is no TOML")]
)
def test_a_file_that_is_no_toml_is_one_line(write, text, named):
    file = write(text)
    said = fault({}, {}, file)
    assert str(file) in said
    assert named in said


def test_a_file_of_other_bytes_is_one_line(tmp_path):
    file = tmp_path / "given.toml"
    file.write_bytes(b"\xff\xfe\x00")
    assert "is no TOML" in fault({}, {}, file)


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name):
    assert f"{tmp_path / name}: cannot be read" in fault({}, {}, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CONVOD_MODLE", "x", "SECTION_KEY"),
        ("CONVOD_", "x", "SECTION_KEY"),
        ("CONVOD_ENGINE_WORKERS", "many", "a whole number"),
        ("CONVOD_ENGINE_WORKERS", "", "a whole number"),
        ("CONVOD_SPOOL_FSYNC", "yes", "true or false"),
        ("CONVOD_DRAIN_S", "soon", "a number"),
        ("CONVOD_LOG_LEVEL", "loud", "'debug' or 'info'"),
        ("CONVOD_LOG_LEVL", "info", "(perhaps you mean CONVOD_LOG_LEVEL)"),
        ("CONVOD_LISTEN", "http://a:1", "a list of ws://HOST:PORT"),
    ],
)
def test_a_wrong_name_or_value_in_the_environment_is_one_line(name, value, expected):
    assert f"environment: {name}: expected " in (said := fault({}, {name: value}))
    assert expected in said


def test_a_wrong_flag_is_one_line():
    assert "command line: log.level: expected 'debug'" in fault({"log.level": "loud"}, {})


# --- the program ------------------------------------------------------------------------------------------


def test_every_flag_is_of_a_setting():
    assert set(__main__.FLAGS.values()) <= set(keys())


def run(monkeypatch, *arguments: str, **environment: str) -> int:
    monkeypatch.setattr("os.environ", {"HOME": "/nowhere", **environment})
    return __main__.main(list(arguments))


def test_check_config_prints_settings_that_give_the_same_settings_and_no_token(monkeypatch, capsys, write, tmp_path):
    file = write('[listen]\ntoken = "s3cret"\nwebsocket = ["ws://127.0.0.1:1"]\n[summary]\nmodel = "a\\"b"\n')
    assert run(monkeypatch, "check-config", "--config", str(file), "--log-level", "debug") == 0
    printed = capsys.readouterr().out
    assert "s3cret" not in printed
    again = tmp_path / "again.toml"
    again.write_text(printed)
    settings, _ = config.load({}, {}, again)
    assert settings.listen.token == "(set)"
    before, _ = config.load({"log.level": "debug"}, {}, file)
    assert msgspec.structs.replace(settings, listen=before.listen) == before


@pytest.mark.parametrize(
    ("text", "mode", "exposed"),
    [
        ('[listen]\ntoken = "secret"\n', 0o644, True),
        ('[listen]\ntoken = "secret"\n', 0o640, False),
        ('[listen]\ntoken = "secret"\n', 0o600, False),
        ("[listen]\n", 0o644, False),
        ('[store]\nurl = "postgresql://ann:secret@host/db"\n', 0o644, True),
        ('[store]\nurl = "postgresql://ann@host/db?sslpassword=secret"\n', 0o644, True),
        ('[store]\nurl = "postgresql://ann@host/db"\n', 0o644, False),
    ],
)
def test_a_token_that_any_user_may_read_is_told(monkeypatch, capsys, write, text, mode, exposed):
    file = write(text)
    file.chmod(mode)
    run(monkeypatch, "check-config", "--config", str(file))
    said = capsys.readouterr().err
    assert ("any user may read it" in said) is exposed
    assert "secret" not in said
    run(monkeypatch, "check-config", "--config", str(file), CONVOD_TOKEN="of the environment", CONVOD_STORE_URL="")
    assert "any user" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@host/db", "postgres://ann:se@cr:s3cret@host/db", "postgresql://ann:1/s3cret@host/db",
        "postgresql://host/db?user=ann&password=s3cret", "postgresql://ann:s3cret@host:port/db", "ann:s3cret@host",
        "mysql://ann:s3cret@host/db", "host=h password=s3cret", "postgresql://ann:%zzs3cret@host",
    ],
)  # fmt: skip
def test_a_stores_password_is_never_printed(monkeypatch, capsys, url):
    run(monkeypatch, "check-config", CONVOD_STORE_URL=url)
    run(monkeypatch, "backup", "/nowhere/file", CONVOD_STORE_URL=url)
    printed = capsys.readouterr()
    assert "s3cret" not in printed.out + printed.err
    assert "(set)" in printed.out
    assert "pg_dump" in printed.err


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CONVOD_MODEL", "smal", "engine.model: no model is called 'smal'"),
        ("CONVOD_MODEL", "/no/such/place", "engine.model: /no/such/place is not a directory"),
        ("CONVOD_SUMMARY_PROVIDER", "gpt", "no summarizer 'gpt': choose one of auto, ollama"),
        ("CONVOD_SUMMARY_STYLE", "../x", "no summary style '../x': choose one of brief"),
    ],
)
def test_check_config_says_which_names_are_of_nothing(monkeypatch, capsys, name, value, says):
    assert run(monkeypatch, "check-config", **{name: value}) == 1
    printed = capsys.readouterr()
    assert f'"{value}"' in printed.out
    assert says in printed.err
    assert printed.err.count("\n") == 1


def test_a_wrong_setting_ends_the_program_with_status_2_and_one_line(monkeypatch, capsys):
    assert run(monkeypatch, CONVOD_LOG_LEVEL="loud") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("convod: environment: CONVOD_LOG_LEVEL: expected")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CONVOD_SESSIONS_FILES_AT_ONCE", "0", "a whole number from 1 to 64"),
        ("CONVOD_ENGINE_WORKERS", "-3", "a whole number from 0 to 256"),
        ("CONVOD_SESSIONS_CREDIT_S", "nan", "a number from 40 to 3600"),
        ("CONVOD_LISTEN_STALL_S", "0", "a number above 0, at most 3600"),
        ("CONVOD_LISTEN_MESSAGE_BYTES", "0", "a whole number from 65536"),
    ],
)
def test_a_value_out_of_range_is_one_line_with_the_range(name, value, expected):
    with pytest.raises(config.BadSettings, match=f"{name}: expected {expected}") as wrong:
        config.load({}, {name: value})
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("redis://h:1/2", "redis://h:1/2"),
        ("redis://u:p@h", "redis://u:(set)@h"),
        ("rediss://:p%40@h?ssl_ca_certs=/a", "rediss://:(set)@h?ssl_ca_certs=/a"),
    ],
)
def test_a_brokers_password_is_not_shown_and_a_file_with_it_must_be_private(write, url, shown):
    assert config.without_password(url) == shown
    file = write(f"[engine]\nbroker = '{url}'\n")
    file.chmod(0o644)
    settings, _ = config.load({}, {}, file)
    told = config.exposed_secret(settings, file)
    use = f"use `chmod o-r {file}`, or CONVOD_ENGINE_BROKER instead"
    assert told == (None if url == shown else f"{file} holds engine.broker and any user may read it: {use}")
    file.chmod(0o640)
    assert config.exposed_secret(settings, file) is None
