"""Fetches the browser libraries of the built-in page, when the package is built or installed.

They come from the npm registry, as pyproject.toml pins them, each with its licence. A wheel and an
sdist carry them, so installing from those asks no registry but PyPI.
"""

import base64
import hashlib
import io
import os
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY") or "https://registry.npmjs.org"
TIMEOUT_S = 60
TRIES = 4
PINS = "pins.txt"
"""Beside the libraries: what was fetched, so that it is not fetched again."""


class Libraries(BuildHookInterface[Any]):
    """Puts the files of `libraries` into the folder `into`, each in a folder of its library."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files, also for an editable install."""
        libraries = self.config["libraries"]
        folder = Path(self.root, self.config["into"])
        pins = "".join(f"{one['name']} {one['version']} {one['integrity']}\n" for one in libraries)
        if not _is_there(folder, pins, libraries):
            for one in libraries:
                _unpack(_fetched(one), folder / one["name"], one["files"])
            (folder / PINS).write_text(pins, encoding="utf-8")
        build_data["artifacts"].append(f"/{self.config['into']}/**")


def _is_there(folder: Path, pins: str, libraries: Iterable[dict[str, Any]]) -> bool:
    files = [folder / one["name"] / Path(name).name for one in libraries for name in one["files"]]
    about = folder / PINS
    return (
        about.exists()
        and about.read_text(encoding="utf-8") == pins
        and all(file.exists() for file in files)
    )


def _fetched(library: dict[str, Any]) -> bytes:
    """The package as it is published; raises when it is not the one that is pinned."""
    name, version = library["name"], library["version"]
    url = f"{REGISTRY.rstrip('/')}/{name}/-/{name}-{version}.tgz"
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as reply:
                package: bytes = reply.read()
            break
        except OSError as error:
            is_final = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if is_final or not left:
                raise RuntimeError(
                    f"the built-in page needs {name} {version}, and {url} does not answer: {error}"
                ) from error
            time.sleep(2 * (TRIES - left))
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    if f"sha512-{digest}" != library["integrity"]:
        raise RuntimeError(f"{url} is not what pyproject.toml pins: sha512-{digest}")
    return package


def _unpack(package: bytes, folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name in [*names, "LICENSE"]:
            member = archive.extractfile(f"package/{name}")
            assert member is not None, f"{name} is a file"
            (folder / Path(name).name).write_bytes(member.read())
