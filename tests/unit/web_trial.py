"""An analysed trial whose readers have passwords, and their browsers."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from mri_pipeline.core.io import nifti
from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.core.spatial import Image
from mri_pipeline.core.visits import Contrast
from mri_pipeline.reading.accounts import password_hash
from mri_pipeline.registry import Registry
from reading_centre.use_cases.reading.room import ReadingRoom
from reading_centre.use_cases.uploads.jobs import Lane, Worker
from reading_centre.web.app import create_app
from tests.unit.office_trial import STAFF, staff_accounts
from tests.unit.reading_trial import edit_protocol, write_unread_trial

SITE = "http://testserver"
PASSWORDS = {"R1": "correct horse battery", "R2": "another long password", "ADJ": "the adjudicator's one"}


@functools.cache
def accounts() -> str:
    """Readers and other people of ``trial.toml``."""
    text = ""
    for code, password in PASSWORDS.items():
        role = "adjudicator" if code == "ADJ" else "reader"
        text += f'\n[[readers]]\ncode = "{code}"\nname = "Dr {code}"\nrole = "{role}"\n'
        text += f'password_hash = "{password_hash(password)}"\n'
    return text + staff_accounts()


def write_web_trial(folder: Path, *, subjects: int = 1, shape: tuple[int, int, int] = (40, 44, 14)) -> Trial:
    """As `write_unread_trial`, with all contrasts and with passwords."""
    trial = write_unread_trial(folder, subjects=subjects, shape=shape)
    edit_protocol(trial, "readers = 1", "readers = 1", accounts())
    for number in range(subjects):
        code = f"BENCH{number:03d}"
        for visit in trial.derivatives.visits(code):
            flair = nifti.load_image(trial.derivatives.image(code, visit, Contrast.FLAIR))
            rng = np.random.default_rng(number)
            for contrast in (Contrast.T1W, Contrast.T1W_GD, Contrast.T2W):
                noisy = flair.data * (1 + 0.05 * rng.standard_normal(flair.data.shape))
                nifti.save(
                    Image(noisy.astype(np.float32), flair.grid), trial.derivatives.image(code, visit, contrast)
                )
    return trial


@contextmanager
def opened_room(trial: Trial):
    """The reading room of a trial."""
    protocol = load_protocol(trial.protocol_file)
    with Registry.open(trial, protocol) as registry:
        yield ReadingRoom(trial, protocol, registry)


class NoWorker(Worker):
    """The tests do the jobs themselves."""

    def start(self, lane: Lane = Lane.SHORT) -> None:
        pass


def browser(room: ReadingRoom, reader: str = "", *, password: str = "") -> TestClient:
    """A browser, signed in as a person."""
    client = TestClient(
        create_app(room, NoWorker(room.trial)), SITE, headers={"Origin": SITE}, follow_redirects=False
    )
    if reader:
        known = PASSWORDS | {code: facts[2] for code, facts in STAFF.items()}
        form = {"login": reader, "password": password or known[reader]}
        assert client.post("/login", data=form).status_code == 303
    return client


@contextmanager
def server(trial):
    """A server process and its URL."""
    command = [sys.executable, "-m", "reading_centre", "serve", str(trial.root), "--port", "0"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stdout.readline()
            (url,) = re.findall(r"reading room: (http://127\.0\.0\.1:\d+)/", line)
            yield process, url
        finally:
            process.kill()


def drawn(answer, shape):
    """A label map from its runs."""
    labels = np.zeros(np.prod(shape), np.uint16)
    for start, length, old, label in answer["runs"]:
        assert old == 0
        labels[start : start + length] = label
    return labels.reshape(shape, order="F")


class Desk:
    """A reader at one case."""

    def __init__(self, client: TestClient, assignment: str, tab: str = "tab") -> None:
        self.client, self.url, self.tab = client, f"/api/reading/{assignment}", tab

    def get(self, path: str):
        answer = self.client.get(f"{self.url}/{path}")
        assert answer.status_code == 200, answer.text
        return answer

    def post(self, path: str, content: dict[str, object]):
        return self.client.post(f"{self.url}/{path}", json=content, headers={"X-Client": self.tab})

    def lease(self, **more: object):
        return self.post("lease", {"client": self.tab, "take_over": False} | more).json()

    @property
    def case(self):
        return self.get("case").json()

    def labels(self, kind: str):
        return self.drawn(f"labels/{kind}")

    def drawn(self, path: str):
        """A label map of the case."""
        return drawn(self.get(path).json(), self.case["shape"])

    def do(self, number: int, **operation: object):
        return self.post("operations", {"number": number, **operation})

    def decide(self, lesion, decision: str, number: int, reason: str = ""):
        old = {"decision": lesion["decision"], "reason": lesion["reason"]}
        decided = {"decision": decision, "reason": reason, "old": old}
        return self.do(number, op="decide", kind=lesion["kind"], lesion=lesion["number"], **decided)

    def decide_all(self, *, keep_holes: bool = False) -> None:
        """Accept all lesions but the black holes: some simulated ones lie at enhancing lesions."""
        self.lease()
        case = self.case
        for number, lesion in enumerate(case["lesions"], start=case["next_number"]):
            word = "reject" if lesion["kind"] == "BH" and not keep_holes else "accept"
            answer = self.decide(lesion, word, number)
            assert answer.status_code == 200, answer.text


if __name__ == "__main__":  # a trial to look at: python -m tests.unit.web_trial FOLDER
    write_web_trial(Path(sys.argv[1]), subjects=2)
