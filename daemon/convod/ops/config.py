"""Settings: from flags, then the environment, then a file, then defaults; each is checked, each fault is one line.

In: flags, environment, a TOML file. Out: `Settings`, or `BadSettings` naming where the fault is, its key, and what was
expected. It opens nothing but the settings file.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
import platformdirs
from msgspec import Meta

from convod.engine.supervisor import EngineSettings
from convod.hooks.settings import HookSettings
from convod.listen.settings import ListenSettings
from convod.sessions.limits import LimitSettings, RetentionSettings
from convod.sessions.session import SessionSettings
from convod.summary import SummarySettings

SYSTEM_FILE: Final = Path("/etc/convod/convod.toml")

ENVIRONMENT: Final = "CONVOD_"

NOT_SETTINGS: Final = frozenset({"CONVOD_OPENAI_KEY"})
"""Environment variables of that prefix that are read elsewhere: secrets have no place in a settings file."""

SHORT: Final = {
    "SOCKET": "listen.socket",
    "LISTEN": "listen.websocket",
    "TOKEN": "listen.token",
    "MODEL": "engine.model",
    "DEVICE": "engine.device",
    "COMPUTE_TYPE": "engine.compute_type",
}
"""Names in the environment that are shorter than their section and key."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[log]`. `format` auto is journal under systemd, else text. `text`: at level debug, log what is said."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "json", "journal"] = "auto"
    text: bool = False


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[metrics]`. `http`: HOST:PORT, "" is off; `insecure`: listen beyond this machine."""

    http: Annotated[str, Meta(pattern=r"^$|^\S+:\d{1,5}$", description='HOST:PORT, or "" for none')] = ""
    insecure: bool = False


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[spool]`. With `fsync` acknowledged audio and text survive a power cut too, at the disk's speed; a file
    that was sent whole does in any case. `path` "" is a folder in the state directory; another one may be shared by
    convods that share a store.
    """

    fsync: bool = False
    path: str = ""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings `[store]`. `url` "" is SQLite in the state directory; postgresql://USER@HOST/DATABASE is a server.

    `lease_s`: a convod that shows no sign of life for so long loses its sessions to others. `audio_grace_s`: one that
    alone has the audio of a session is waited for so long, then the session fails. `name`: what this convod is called
    in errors that say where a session is, such as its address; "" is the name of its machine.
    """

    url: str = ""
    lease_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    audio_grace_s: Annotated[float, Meta(ge=0, le=1e7)] = 600.0
    name: Annotated[str, Meta(pattern=r"^[!-~]{0,100}$", description="up to 100 printable ASCII characters")] = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. `state_dir` "" is the user's state directory."""

    state_dir: str = ""
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    listen: ListenSettings = ListenSettings()
    engine: EngineSettings = EngineSettings()
    sessions: SessionSettings = SessionSettings()
    limits: LimitSettings = LimitSettings()
    retention: RetentionSettings = RetentionSettings()
    summary: SummarySettings = SummarySettings()
    spool: SpoolSettings = SpoolSettings()
    store: StoreSettings = StoreSettings()
    metrics: MetricsSettings = MetricsSettings()
    hooks: HookSettings = HookSettings()
    log: LogSettings = LogSettings()

    @property
    def state_path(self) -> Path:
        """Where sessions and audio are kept."""
        return Path(self.state_dir).expanduser() if self.state_dir else platformdirs.user_state_path("convod")


class BadSettings(Exception):
    """A setting is wrong; the text is one line: where, which key, what was expected."""


def keys() -> Iterator[str]:
    """Every setting's dotted key."""
    yield from setting_types()


def load(
    flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None
) -> tuple[Settings, Path | None]:
    """Load the settings, and return them with the file that was read. `flags` are by dotted key, None where not given.

    Raises:
        BadSettings: a key or a value is wrong, or `file` cannot be read.
    """
    types = setting_types()
    values: dict[str, Any] = {}
    path = file or _default_file(environment)
    if path is not None:
        for key, value in _from_file(path, types):
            values[key] = _value(str(path), key, value, types[key], strict=True)
    for name, text in environment.items():
        if name.startswith(ENVIRONMENT) and name not in NOT_SETTINGS:
            key = _environment_key(name, types)
            given: Any = _parts(text) if get_origin(types[key]) is list else text
            values[key] = _value("environment", name, given, types[key], strict=False)
    for key, value in flags.items():
        if value is not None:
            values[key] = _value("command line", key, value, types[key], strict=False)
    return build(values), path


def exposed_secret(settings: Settings, file: Path | None) -> str | None:
    """One sentence if the file holds a secret and every user of this machine may read it."""
    broker, url = settings.engine.broker, settings.store.url
    secrets = {
        "listen.token": (settings.listen.token, "`convod token add`"),
        "engine.broker": (broker if without_password(broker) != broker else "", "CONVOD_ENGINE_BROKER"),
        "store.url": (url if without_password(url) != url else "", "CONVOD_STORE_URL, or a password in ~/.pgpass,"),
    }
    if file is None or not any(value for value, _ in secrets.values()):
        return None
    try:
        if not file.stat().st_mode & stat.S_IROTH:
            return None
        held = dict(_from_file(file, setting_types()))
    except (OSError, BadSettings):
        return None
    for key, (value, instead) in secrets.items():
        if value and held.get(key) == value:
            return f"{file} holds {key} and any user may read it: use `chmod o-r {file}`, or {instead} instead"
    return None


def without_password(url: str) -> str:
    """An address as it may be shown."""
    if url and not re.match("(postgres(ql)?|rediss?)://", url):
        return "(set)"  # whatever it is
    url = re.sub(r"^(\w+://[^:/@]*):.*@", r"\1:(set)@", url)
    return re.sub(r"(?i)((?:ssl)?password=)[^&]*", r"\1(set)", url)


def _parts(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def setting_types() -> dict[str, Any]:
    """Return the type of each setting, by its key."""
    types: dict[str, Any] = {}
    for field in msgspec.structs.fields(Settings):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            types |= {f"{field.name}.{inner.name}": inner.type for inner in msgspec.structs.fields(field.type)}
        else:
            types[field.name] = field.type
    return types


def _default_file(environment: Mapping[str, str]) -> Path | None:
    home = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "~"), ".config")
    for path in (Path(home).expanduser() / "convod" / "convod.toml", SYSTEM_FILE):
        if path.is_file():
            return path
    return None


def _from_file(path: Path, types: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    import tomllib  # where there is a file to read

    try:
        tree = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: is no TOML: {error}") from error
    sections = _sections(types)
    for name, value in tree.items():
        if name in sections:
            if not isinstance(value, dict):
                raise BadSettings(f"{path}: {name}: expected a section [{name}]")
            for inner, given in value.items():
                yield _known(str(path), f"{name}.{inner}", types), given
        else:
            yield _known(str(path), name, types), value


def _known(where: str, key: str, types: Mapping[str, Any]) -> str:
    if key in types:
        return key
    section, dot, _ = key.rpartition(".")
    here = sorted(one.removeprefix(f"{section}.") for one in types if one.rpartition(".")[0] == section)
    wanted = f"one of {', '.join(here)}"
    if not dot:
        wanted += f", or one of the sections {', '.join(sorted(_sections(types)))}"
    raise BadSettings(f"{where}: {key}: expected {wanted}{_meant(key, [*types, *_sections(types)])}")


def _sections(types: Mapping[str, Any]) -> set[str]:
    return {key.partition(".")[0] for key in types if "." in key}


def _meant(name: str, known: Iterable[str]) -> str:
    """The name that was perhaps meant; one that stands in another section goes before one that only looks alike."""
    from difflib import get_close_matches  # where something is wrong

    known = list(known)
    leaf = name.rpartition(".")[2]
    meant = [one for one in known if one.rpartition(".")[2] == leaf] or get_close_matches(name, known, 1, 0.75)
    return f" (perhaps you mean {meant[0]})" if meant else ""


def _environment_key(name: str, types: Mapping[str, Any]) -> str:
    rest = name.removeprefix(ENVIRONMENT)
    if rest in SHORT:
        return SHORT[rest]
    for key in types:
        if rest == _variable(key):
            return key
    meant = _meant(name, [ENVIRONMENT + one for one in [*SHORT, *map(_variable, types)]])
    raise BadSettings(
        f"environment: {name}: expected {ENVIRONMENT}SECTION_KEY of a setting, such as CONVOD_LOG_LEVEL{meant}"
    )


def _variable(key: str) -> str:
    return key.replace(".", "_").upper()


def _value(where: str, key: str, value: Any, expected: Any, *, strict: bool) -> Any:
    try:
        checked = msgspec.convert(value, expected, strict=strict)
    except msgspec.ValidationError as error:
        raise BadSettings(f"{where}: {key}: expected {_wanted(expected)}, not {value!r}") from error
    if isinstance(checked, float) and math.isnan(checked):  # which no bound keeps out
        raise BadSettings(f"{where}: {key}: expected {_wanted(expected)}, not {value!r}")
    return checked


def _wanted(expected: Any) -> str:
    if get_origin(expected) is Annotated:
        plain, bounds = get_args(expected)
        if bounds.description is not None:
            return str(bounds.description)
        least = bounds.ge if bounds.ge is not None else bounds.gt
        lower = "" if least is None else f" {'from' if bounds.gt is None else 'above'} {least}"
        upper = "" if bounds.le is None else f" to {bounds.le}" if bounds.gt is None else f", at most {bounds.le}"
        return f"{_wanted(plain)}{lower}{upper}"
    if get_origin(expected) is Literal:
        return " or ".join(map(repr, get_args(expected)))
    if get_origin(expected) is list:
        (each,) = get_args(expected)
        return "a list of texts" if each is str else f"a list of {_wanted(each)}"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names[expected]


def flatten(settings: Settings) -> dict[str, Any]:
    """Return every setting's value by its dotted key."""
    flat: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, msgspec.Struct):
            flat |= {f"{name}.{inner}": one for inner, one in msgspec.structs.asdict(value).items()}
        else:
            flat[name] = value
    return flat


def build(values: Mapping[str, Any]) -> Settings:
    """Return the settings with these values by dotted key, and defaults for the others; the reverse of `flatten`."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            nested.setdefault(section, {})[name] = value
        else:
            nested[section] = value
    settings: Settings = msgspec.convert(nested, Settings)
    return settings
