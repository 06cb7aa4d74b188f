"""A compose file's services as processes of this machine: what the containers run, with their environment and order.

A container's paths are directories below one of the test's own; ports are free ones; each service is on 127.0.0.1.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
SECONDS = 60.0  # for a service to be ready, and to end
Json = Any  # Any: what a compose file holds, which its own schema has checked


class Image:
    """What deploy/Dockerfile says of a container of ours: the last stage's instructions."""

    def __init__(self) -> None:
        text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
        stage = text[text.rindex("\nFROM ") :]
        found = dict(re.findall(r"^([A-Z]+) (.*)$", stage, re.MULTILINE))
        self.user: str = found["USER"]
        self.entrypoint: list[str] = yaml.safe_load(found["ENTRYPOINT"])
        self.health: list[str] = yaml.safe_load(found["HEALTHCHECK"].partition("CMD ")[2])
        self.directory: str = found["WORKDIR"]
        self.environment = dict(each.split("=", 1) for each in shlex.split(found["ENV"]))
        self.environment.pop("PATH")


class Composed:
    """The services of one compose file; `start` them all, then `stop` them, as often as one likes."""

    def __init__(self, file: str, root: Path, ports: dict[str, str]) -> None:
        self.services: dict[str, Json] = yaml.safe_load((DEPLOY / file).read_text())["services"]
        self.ports = ports  # a container's -> this machine's
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._root = root
        self._image = Image()

    def volume(self, name: str) -> Path:
        """Return the directory that is a named volume."""
        found = self._root / "volumes" / name
        found.mkdir(parents=True, exist_ok=True)
        return found

    def log(self, service: str) -> Path:
        """Return where a service's output goes."""
        return self._root / f"{service}.log"

    def start(self) -> None:
        """Start every service in the order that `depends_on` says."""
        left = list(self.services)
        while left:
            name = next(each for each in left if not set(self.services[each].get("depends_on", ())) & set(left))
            for other, wanted in self.services[name].get("depends_on", {}).items():
                self._wait(other, wanted["condition"])
            self._run(name)
            left.remove(name)
        for name in self.running:
            self._wait(name, "service_healthy")

    def stop(self) -> None:
        """End every service, those first that depend on others."""
        for name in reversed(self.running):
            process = self.running[name]
            process.terminate()
            try:
                process.wait(SECONDS)
            finally:
                process.kill()
        self.running.clear()

    def _run(self, name: str) -> None:
        service = self.services[name]
        ours = service["image"] == "loominal"
        command = [*(service.get("entrypoint") or self._image.entrypoint)] if ours else []
        command += service.get("command", ())
        environment = {**(self._image.environment if ours else {}), **service.get("environment", {})}
        directory = service.get("working_dir") or (self._image.directory if ours else "/")
        self._copy_files(name)
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [self._here(name, each) for each in command],
                env={**{each: self._here(name, value) for each, value in environment.items()}, **programs()},
                cwd=self._here(name, directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait(self, name: str, condition: str) -> None:
        """Return when a service is as another one needs it."""
        until = time.monotonic() + SECONDS
        once = self.services[name].get("restart") == "no"
        if condition == "service_completed_successfully" or once:
            code = self.running.pop(name).wait(SECONDS) if name in self.running else 0
            assert code == 0, self.log(name).read_text()
            return
        while not self._is_healthy(name):
            assert self.running[name].poll() is None, self.log(name).read_text()
            assert time.monotonic() < until, f"{name} is not healthy: {self.log(name).read_text()[-2000:]}"
            time.sleep(0.1)

    def _is_healthy(self, name: str) -> bool:
        test = self.services[name].get("healthcheck", {}).get("test")
        if test is None:
            path = DEPLOY / Path(self._image.health[-1]).name
            environment = {each: self._here(name, value) for each, value in self._image.environment.items()}
            return subprocess.run([sys.executable, path], env=environment, capture_output=True).returncode == 0
        assert test[:2] == ["CMD", "wget"]  # of the image's; it may not be here
        try:
            with urllib.request.urlopen(self._here(name, test[-1]), timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _here(self, service: str, text: str) -> str:
        """Return `text` as it has to be outside of the container: paths, ports and names of services."""
        places = self._places(service)
        paths = "|".join(map(re.escape, sorted(places, key=len, reverse=True)))
        text = re.sub(f"//(?:{'|'.join(self.services)}):", "//127.0.0.1:", text)
        text = re.sub(rf"\b(?:{'|'.join(self.ports)})\b", lambda found: self.ports[found[0]], text)
        return re.sub(rf"(?<![\w./-])(?:{paths})(?![\w.-])", lambda found: str(places[found[0]]), text)

    def _places(self, service: str) -> dict[str, Path]:
        """Return where a container's directories and files are here."""
        found = {"/tmp": self._root / f"tmp-{service}"}
        found["/tmp"].mkdir(exist_ok=True)
        for volume in self.services[service].get("volumes", ()):
            source, target, *_ = volume.split(":")
            found[target] = self._root / Path(source).name if source.startswith(".") else self.volume(source)
        return found

    def _copy_files(self, service: str) -> None:
        """Put the files that a service is given where they are here, with paths and ports as here."""
        for volume in self.services[service].get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                text = (DEPLOY / source).read_text()
                (self._root / Path(source).name).write_text(self._here(service, text))


def programs() -> dict[str, str]:
    """Return where programs are found: those of the environment that runs the tests, before all others."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
