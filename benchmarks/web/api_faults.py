"""Schemathesis over all endpoints, as each role: an answer of 500 or more is a fault.

    python -m venv /tmp/schemathesis && /tmp/schemathesis/bin/pip install schemathesis
    PYTHONPATH=. python benchmarks/web/api_faults.py --schemathesis /tmp/schemathesis/bin/schemathesis

Schemathesis has an environment of its own: its requirements do not fit those of this project. The trial is a simulated
one, served by `mri-pipeline serve` in its own process. The codes of its cases, uploads and queries are values of the
parameters, so that requests reach what lies behind them.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mri_pipeline.core.layout import Trial
from mri_pipeline.core.protocol import load_protocol
from mri_pipeline.registry import Registry
from mri_pipeline.registry.job_records import JobKind
from reading_centre.use_cases.reading.export_reads import export_reads
from reading_centre.use_cases.reading.import_reads import import_reads
from reading_centre.use_cases.uploads.jobs import Worker
from reading_centre.use_cases.uploads.waiting import WaitingUpload
from reading_centre.web.access import COOKIE
from reading_centre.web.app import create_app
from tests.unit.office_trial import STAFF
from tests.unit.reading_trial import decide, edit_protocol, lesions_but_no_holes
from tests.unit.web_trial import PASSWORDS
from tests.web.conftest import Room
from tests.web.trial import write_browser_trial

LEFT_OUT = ("/logout", "/login", "/password", "/authenticator/confirm")
"""They end the session, or lock the account out."""


class _Keep(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def cookie_of(base: str, code: str, password: str) -> str:
    """The session of a person."""
    form = urllib.parse.urlencode({"login": code, "password": password}).encode()
    request = urllib.request.Request(f"{base}/login", form, headers={"Origin": base})
    try:
        urllib.request.build_opener(_Keep).open(request)
    except urllib.error.HTTPError as answer:
        return answer.headers["Set-Cookie"].partition(";")[0]
    raise SystemExit(f"{code}: the login was refused")


def schema_of(trial: Trial, known: dict[str, list[str]]) -> dict[str, Any]:
    """The OpenAPI schema, with known values of the parameters in paths."""
    schema = create_app(SimpleNamespace(trial=trial), Worker(trial)).openapi()  # type: ignore[arg-type]
    schema["paths"] = {path: value for path, value in schema["paths"].items() if path not in LEFT_OUT}
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in known:
                    parameter["schema"] = {"anyOf": [{"enum": known[parameter["name"]]}, parameter["schema"]]}
            if "requestBody" not in operation and operation["operationId"].startswith(("_", "post")):
                form = {"type": "object", "additionalProperties": {"type": "string"}}
                operation["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": form}}}
    for operations in schema["paths"].values():
        operations.get("get", {}).pop("requestBody", None)
        operations.get("head", {}).pop("requestBody", None)
    return schema


def dispute(trial: Trial, visits: int = 3) -> None:
    """Enter two reads that disagree, of the first visits: the adjudicator has cases, and the readers have the others.

    The worklist is in random order, and a visit is compared when the previous one is read.
    """
    edit_protocol(trial, "readers = 1", "readers = 2")
    first, second = (trial.root.parent / name for name in ("first", "second"))
    export_reads(trial.root, first)
    shutil.copytree(first, second)
    proposals = sorted(trial.reads.glob("*/wk*/proposed/proposal.json"))[:visits]
    codes = {json.loads(path.read_bytes())["reading_code"] for path in proposals}

    def without_gel(code: str, row: dict[str, str]) -> str:
        return "reject" if row["type"] == "GEL" else lesions_but_no_holes(code, row)

    import_reads(trial.root, decide(first, codes=codes), reader="R1")
    import_reads(trial.root, decide(second, without_gel, codes=codes), reader="R2")


def known_codes(trial: Trial) -> dict[str, list[str]]:
    """Codes of cases, an upload and a query."""
    with Registry.open(trial, load_protocol(trial.protocol_file)) as registry:
        cases = [case.code for reader in PASSWORDS for case in registry.assignments.of_reader(reader)[:4]]
        assert registry.assignments.of_reader("ADJ"), "a case of the adjudicator expected"
        registry.record_dummy_run("S01", accepted=True, upload_digest="another", findings=["FLAIR: a question"])
        job = registry.jobs.begin(JobKind.VISIT, account="S01-AB", site="S01", visit="wk00", size_bytes=10)
        WaitingUpload(trial, job.code).create({})
    return {
        "assignment": cases, "upload": [job.code], "job": [job.code], "kind": ["T2", "GEL", "BH"],
        "pane": ["flair", "t1_gd", "read_A_flair"], "name": ["A", "B"], "wish": ["tables", "quality"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemathesis", type=Path, required=True, help="the program")
    parser.add_argument("--examples", type=int, default=30, help="most requests for each endpoint and role")
    parser.add_argument("--people", nargs="+", help="codes of these people alone")
    options = parser.parse_args()
    people = PASSWORDS | {code: facts[2] for code, facts in STAFF.items()}
    with tempfile.TemporaryDirectory() as folder:
        trial = write_browser_trial(Path(folder) / "trial", subjects=1)
        dispute(trial)
        room = Room(trial.root, Path(folder) / "serve.log")
        room.start()
        failed = []
        try:
            cookies = {code: cookie_of(room.base, code, password) for code, password in people.items()}
            for cookie in cookies.values():  # the first page makes the cases of a reader
                urllib.request.urlopen(urllib.request.Request(room.base, headers={"Cookie": cookie}))
            schema = Path(folder) / "schema.json"
            schema.write_text(json.dumps(schema_of(trial, known_codes(trial))))
            for code, cookie in {"nobody": f"{COOKIE}=none", **cookies}.items():
                if options.people and code not in options.people:
                    continue
                print(f"== {code}", flush=True)
                command = [
                    str(options.schemathesis), "run", str(schema), "--url", room.base, "--checks", "not_a_server_error",
                    "--phases", "examples,coverage,fuzzing", "--max-examples", str(options.examples), "--seed", "1",
                    "-H", f"Cookie: {cookie}", "-H", f"Origin: {room.base}", "-H", "X-Client: tab",
                ]  # fmt: skip
                done = subprocess.run(command, check=False)
                if done.returncode:
                    failed.append(code)
        finally:
            room.kill()
            log = room.log.read_text()
            print("\n".join(line for line in log.splitlines() if " 500 " in line or "Error" in line))
    sys.exit(f"faults as {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
