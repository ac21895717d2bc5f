"""Answers of the server while 20 people read and 5 uploads arrive at once.

    PYTHONPATH=. python benchmarks/web/load.py [--readers 20] [--uploads 5] [--decisions 15] [--mb 40]

`mri-pipeline serve` runs in a process of its own on a simulated trial with scans of 2D size (by default 192 x 224 x
54). Each reader signs in, opens a case with all its images, and then decides on lesions at random intervals, as a
person does; between two decisions another image is fetched, which is the server's part of a slice view: the slices
are drawn in the browser. Meanwhile the uploads of a site arrive in parts of 4 MB with their checksums. The script
prints the median, the 95th percentile and the largest time of each kind of request, the load of the machine and the
CPU time of the server, which does not depend on the load.
Goals on two free cores: p95 of a decision 150 ms, of a slice view 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import os
import random
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from mri_pipeline.reading.accounts import password_hash
from reading_centre.use_cases.reading.images import CACHE
from reading_centre.use_cases.reading.prepare import prepare_images
from tests.unit.office_trial import STAFF
from tests.unit.reading_trial import edit_protocol
from tests.unit.web_trial import server, write_web_trial

PART = 4 * 1024 * 1024
PASSWORD = "a password of the benchmark"
SITE = "S01-AB"
Times = dict[str, list[float]]


class Person:
    """A signed-in person whose requests are timed."""

    def __init__(self, url: str, times: Times) -> None:
        self.client = httpx2.AsyncClient(base_url=url, headers={"Origin": url}, timeout=120)
        self.times = times

    async def request(self, what: str, method: str, path: str, **more: Any) -> httpx2.Response:
        """An answer, whose time is kept."""
        start = time.perf_counter()
        answer = await self.client.request(method, path, **more)
        self.times[what].append(time.perf_counter() - start)
        assert answer.status_code < 400, (what, answer.status_code, answer.text)
        return answer

    async def sign_in(self, login: str, password: str) -> None:
        """Start the session."""
        await self.request("login", "POST", "/login", data={"login": login, "password": password})


async def read(person: Person, login: str, number: int, decisions: int, pause_s: float) -> None:
    """Open a case and decide on its lesions."""
    await person.sign_in(login, PASSWORD)
    cases = re.findall(r"/reading/(\w{24})", (await person.request("worklist", "GET", "/")).text)
    url, tab = f"/api/reading/{cases[number % len(cases)]}", {"X-Client": f"tab-{login}"}
    case = (await person.request("opening of a case", "GET", f"{url}/case")).json()
    panes = [pane["id"] for pane in case["panes"]]
    for pane in panes:
        await person.request("volume, first time", "GET", f"{url}/volumes/{pane}")
    await person.request("lease", "POST", f"{url}/lease", json={"client": tab["X-Client"]})
    lesions = [one for one in case["lesions"] if one["decision"] is None]
    for number_, lesion in enumerate(lesions[:decisions], start=case["next_number"]):
        await asyncio.sleep(random.uniform(0.5, 1.5) * pause_s)
        await person.request("slice view", "GET", f"{url}/volumes/{random.choice(panes)}")
        old = {"decision": lesion["decision"], "reason": lesion["reason"]}
        body = {
            "op": "decide",
            "kind": lesion["kind"],
            "lesion": lesion["number"],
            "decision": "accept",
            "reason": "",
        }
        await person.request(
            "decision", "POST", f"{url}/operations", json={**body, "number": number_, "old": old}, headers=tab
        )


async def send(person: Person, size: int) -> None:
    """Send an upload in parts. It is no archive: its check ends soon."""
    content = random.randbytes(size)
    stated = {"kind": "dummy run", "size": size, "content": hashlib.sha256(content).hexdigest()}
    upload = (await person.request("begin of an upload", "POST", "/api/site/uploads", json=stated)).json()[
        "upload"
    ]
    for offset in range(0, size, PART):
        part = content[offset : offset + PART]
        digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
        headers = {"Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {digest}"}
        await person.request(
            "part of an upload", "PATCH", f"/api/site/uploads/{upload}", content=part, headers=headers
        )
    while True:
        await asyncio.sleep(3)
        answer = await person.request("state of an upload", "GET", f"/api/site/uploads/{upload}")
        if answer.json()["state"] not in {"waiting", "running"}:
            return


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(url: str, wanted: argparse.Namespace) -> Times:
    """The times of all requests in seconds, by kind."""
    times: Times = defaultdict(list)
    site = Person(url, times)
    await site.sign_in(SITE, STAFF[SITE][2])
    people = [Person(url, times) for _ in range(wanted.readers)]
    await asyncio.gather(
        *(read(one, f"L{n:02d}", n, wanted.decisions, wanted.pause_s) for n, one in enumerate(people)),
        *(send(site, wanted.mb * 1_000_000) for _ in range(wanted.uploads)),
    )
    return times


def write_trial(folder: Path, readers: int, shape: list[int]) -> Any:
    """A trial with many readers. They share a password, whose hash takes 0.2 s to make."""
    trial = write_web_trial(folder, shape=tuple(shape))
    known = password_hash(PASSWORD)
    accounts = "".join(f'\n[[readers]]\ncode = "L{n:02d}"\npassword_hash = "{known}"\n' for n in range(readers))
    edit_protocol(trial, "readers = 1", "readers = 1", accounts)
    return trial


def report(times: Times, say: Callable[[str], None] = print) -> None:
    """Print the figures of the requests."""
    say(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    say(f"{'request':20} {'number':>6} {'median':>8} {'p95':>8} {'largest':>8}  ms")
    for what, found in times.items():
        p95 = statistics.quantiles(found, n=20)[-1] if len(found) > 1 else found[0]
        figures = (1000 * value for value in (statistics.median(found), p95, max(found)))
        say(f"{what:20} {len(found):6} " + " ".join(f"{value:8.0f}" for value in figures))


def main() -> None:
    """Measure; nothing is asserted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--uploads", type=int, default=5)
    parser.add_argument("--decisions", type=int, default=15)
    parser.add_argument("--mb", type=int, default=40)
    parser.add_argument("--pause-s", type=float, default=3.0)
    parser.add_argument("--shape", type=int, nargs=3, default=[192, 224, 54])
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial = write_trial(Path(folder) / "trial", wanted.readers, wanted.shape)
        (trial.work / CACHE).mkdir(parents=True, exist_ok=True)
        prepare_images(trial.root)  # as at the end of a run
        with server(trial) as (process, url):
            before, start = cpu_s(process.pid), time.perf_counter()
            times = asyncio.run(load(url, wanted))
            used, wall = cpu_s(process.pid) - before, time.perf_counter() - start
            report(times)
            number = sum(map(len, times.values()))
            print(f"CPU of the server: {used:.1f} s in {wall:.0f} s, {1000 * used / number:.0f} ms a request")


if __name__ == "__main__":
    main()
