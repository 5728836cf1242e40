"""The libraries of the page: the ones that are pinned, with their licences, also in the wheel."""

import base64
import hashlib
import importlib.util
import io
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
HOOK = CONFIG["hooks"]["custom"]
VENDOR = ROOT / HOOK["into"]


def libraries() -> Any:
    """The module of the build hook."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Registry:
    """A registry of packages, as npm's is asked by the hook."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.packages: dict[str, bytes] = {}
        self.failures = 0
        """How often it says first that it is overloaded."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                package = registry.packages.get(self.path)
                if registry.failures:
                    registry.failures -= 1
                    self.send_error(503)
                elif package is None:
                    self.send_error(404)
                else:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(package)

            def log_message(self, *_: Any) -> None:
                """Nothing: the test asserts."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def publish(self, name: str, version: str, **files: str) -> dict[str, Any]:
        """A package with these files; how pyproject.toml would pin it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for path, text in {"LICENSE": "yes", **files}.items():
                member = tarfile.TarInfo(f"package/{path}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        package = self.packages[f"/{name}/-/{name}-{version}.tgz"] = packed.getvalue()
        digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
        return {
            "name": name,
            "version": version,
            "files": list(files),
            "integrity": f"sha512-{digest}",
        }


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    thread = Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def build(registry, tmp_path, monkeypatch):
    """Runs the hook for pins of libraries, into `tmp_path / "vendor"`."""
    hook = libraries()
    monkeypatch.setattr(hook, "REGISTRY", registry.url)
    monkeypatch.setattr(hook.time, "sleep", lambda seconds: None)

    def run(*pins: dict[str, Any]) -> list[str]:
        config = {"into": "vendor", "libraries": list(pins)}
        data: dict[str, Any] = {"artifacts": []}
        made = hook.Libraries(str(tmp_path), config, None, None, str(tmp_path), "wheel")
        made.initialize("standard", data)
        return list(data["artifacts"])

    return run


@pytest.mark.parametrize("library", HOOK["libraries"], ids=lambda library: library["name"])
def test_what_is_installed_is_what_is_pinned_with_its_licence(library):
    pins = (VENDOR / "pins.txt").read_text().splitlines()
    assert f"{library['name']} {library['version']} {library['integrity']}" in pins
    assert len(pins) == len(HOOK["libraries"])
    folder = VENDOR / library["name"]
    expected = {Path(name).name for name in library["files"]} | {"LICENSE"}
    assert {file.name for file in folder.iterdir()} == expected
    assert "MIT" in (folder / "LICENSE").read_text() or "Apache" in (folder / "LICENSE").read_text()


@pytest.mark.parametrize("library", HOOK["libraries"], ids=lambda library: library["name"])
def test_every_library_has_its_reason_in_the_documentation(library):
    page = (ROOT / "docs" / "dependencies.md").read_text()
    assert f"| `{library['name']}` | {library['version']} |" in page


def test_the_wheel_and_the_source_archive_carry_the_page_and_its_libraries(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    (source,) = tmp_path.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    web = ROOT / "monitor_service" / "web"
    files = {
        str(file.relative_to(ROOT))
        for file in web.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert f"{HOOK['into']}/preact/LICENSE" in files
    assert files <= in_wheel
    assert files | {"hatch_build.py", "pyproject.toml"} <= in_source


def test_libraries_are_fetched_once_for_the_same_pins(build, registry, tmp_path):
    one = registry.publish("one", "1.0.0", **{"dist/one.js": "first"})
    assert build(one) == ["/vendor/**"]
    assert build(one) == ["/vendor/**"]
    assert registry.asked == ["/one/-/one-1.0.0.tgz"]
    assert (tmp_path / "vendor" / "one" / "one.js").read_text() == "first"
    assert (tmp_path / "vendor" / "one" / "LICENSE").read_text() == "yes"
    build(registry.publish("one", "1.0.1", **{"dist/one.js": "second"}))
    assert (tmp_path / "vendor" / "one" / "one.js").read_text() == "second"


def test_a_file_that_is_missing_is_fetched_again(build, registry, tmp_path):
    one = registry.publish("one", "1.0.0", **{"one.js": "first"})
    build(one)
    (tmp_path / "vendor" / "one" / "one.js").unlink()
    build(one)
    assert (tmp_path / "vendor" / "one" / "one.js").read_text() == "first"


def test_a_package_that_is_not_the_one_that_is_pinned_is_refused(build, registry, tmp_path):
    one = registry.publish("one", "1.0.0", **{"one.js": "first"})
    registry.publish("one", "1.0.0", **{"one.js": "altered"})
    with pytest.raises(RuntimeError, match="is not what pyproject"):
        build(one)
    assert not (tmp_path / "vendor").exists()


def test_a_registry_that_is_overloaded_is_asked_again(build, registry, tmp_path):
    one = registry.publish("one", "1.0.0", **{"one.js": "first"})
    registry.failures = 3
    build(one)
    assert (tmp_path / "vendor" / "one" / "one.js").read_text() == "first"


def test_a_package_that_is_not_there_is_named(build, registry):
    one = registry.publish("one", "1.0.0", **{"one.js": "first"}) | {"version": "9.9.9"}
    with pytest.raises(RuntimeError, match=r"needs one 9\.9\.9.*404"):
        build(one)
    assert registry.asked == ["/one/-/one-9.9.9.tgz"]
