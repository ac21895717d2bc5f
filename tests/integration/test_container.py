"""The image of the Dockerfile, built by buildah without a daemon, runs as its documentation says.

Docker's base image is replaced by Debian's own Python of the same version and release, made by debootstrap.
"""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.11-slim-bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Of this machine: pip of the image has to trust what pip of this machine trusts."""

pytestmark = pytest.mark.slow


class Image:
    """An image that was built, and a container of it that sees a folder as /trial."""

    def __init__(self, folder: Path) -> None:
        self.environment = os.environ | {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
        self.storage = ("--root", str(folder / "storage"), "--runroot", str(folder / "run"))
        self.trial = folder / "trial"
        self.container = ""

    def buildah(self, *arguments: object, typed: str = "") -> str:
        words = ["buildah", *self.storage, *map(str, arguments)]
        done = subprocess.run(
            words, env=self.environment, input=typed, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    def in_container(self, *command: str) -> tuple[str, ...]:
        return ("run", "--volume", f"{self.trial}:/trial", self.container, "--", *command)

    def run(self, *command: str, typed: str = "") -> str:
        return self.buildah(*self.in_container(*command), typed=typed)

    @contextmanager
    def service(self, *command: str):
        words = ["buildah", *self.storage, *self.in_container(*command)]
        with subprocess.Popen(words, env=self.environment, stdout=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.terminate()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    missing = [name for name in ("buildah", "debootstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        why = f"expected buildah and debootstrap, run by root; missing: {', '.join(missing) or 'root'}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    folder = tmp_path_factory.mktemp("container")
    made = Image(folder)
    made.trial.mkdir()
    made.trial.chmod(0o777)  # the user of the container writes into it
    try:
        base = folder / "debian"
        debian = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(base)]
        done = subprocess.run(debian, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
        shutil.copyfile(CERTIFICATES, base / CERTIFICATES.relative_to("/"))
        (base / "usr/bin/python").symlink_to("python3")  # as in Docker's image
        for marker in base.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        container = made.buildah("from", "scratch")
        made.buildah("add", container, base, "/")
        made.buildah("commit", "--rm", container, BASE)
        shutil.rmtree(base)
        made.buildah("build", "--pull-never", "--build-arg", "VERSION=9.8.7", "-t", "mri-pipeline", ROOT)
        made.container = made.buildah("from", "--pull-never", "localhost/mri-pipeline")
        yield made
    finally:
        made.buildah("rm", "--all")  # removes its mounts


def test_the_image_has_the_stated_version_and_an_unprivileged_user(image):
    assert image.run("id", "-u") == "10001"
    assert image.run("mri-pipeline", "--version") == "mri-pipeline 9.8.7"
    assert image.run("sh", "-c", "ls -d /source /opt/venv/lib/python3*/site-packages/tests 2>&1 || true").count(
        "No such file"
    )
    settings = yaml.safe_load(image.buildah("inspect", "--type", "image", "localhost/mri-pipeline"))["OCIv1"][
        "config"
    ]
    assert settings["Entrypoint"] == ["mri-pipeline"]
    assert settings["User"] == "reader"


def test_the_web_application_of_the_image_is_healthy(image):
    """By the check of containers/compose.yaml."""
    image.run("mri-pipeline", "init", "/trial/t")
    protocol = image.trial / "t" / "trial.toml"
    protocol.write_text(f'{protocol.read_text()}\n[[readers]]\ncode = "R1"\n')
    account = image.run(
        "mri-pipeline", "read", "/trial/t", "--account", "--reader", "R1", typed="a long password of a reader\n"
    )
    protocol.write_text(f"{protocol.read_text()}{account}\n")
    assert "audit trail: " in image.run("mri-pipeline", "status", "/trial/t")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    service = yaml.safe_load((ROOT / "containers" / "compose.yaml").read_text())["services"]["web"]
    check = [word.replace("8080", port) for word in service["healthcheck"]["test"][1:]]
    with image.service("mri-pipeline", "serve", "/trial/t", "--port", port) as process:
        end = time.monotonic() + 300
        while time.monotonic() < end and process.poll() is None:
            words = ["buildah", *image.storage, *image.in_container(*check)]
            if subprocess.run(words, env=image.environment, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(1)
        pytest.fail("the web application of the image was not healthy")
