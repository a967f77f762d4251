"""`python -m tests.support.chaos [SECONDS] [SEED]`: an ingest while everything is killed at random, beside an
undisturbed one.

Two nodes, four evaluators, PostgreSQL and S3; three real networks over imagenet-500, clean and under FGSM. Every few
seconds something dies: an evaluator, a decode worker, a task that merges a run, a node (another comes), the driver
(started again; also while it publishes), PostgreSQL, the way to S3 (once for 30 seconds). Afterwards the same command
runs until nothing is missing, `compact` is killed again and again, and every table of both stores is compared, to the
last bit. Last, a store of schema 6 is migrated and compacted under kills. It needs what `make test-cluster` installs,
and ../shared.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import qubastore
from qubastore.maintenance.doctor import examine
from tests.lake.test_old_stores import unpack
from tests.support.nodes import Nodes, numbers, of_cluster, start
from tests.support.services import S3, Postgres

SHARED = Path(__file__).resolve().parent.parent.parent.parent / "shared"


MODELS = [f"python:{SHARED / 'models' / 'efficientnet_lite.py'}:lite{n}" for n in range(3)]


IMAGES = SHARED / "data" / "imagenet-500"


TABLES = ("outputs", "logits", "features", "shards", "sums", "metrics")


CONDITIONS = ("--condition", "clean", "--condition", "fgsm", "--keep", "outputs,logits,features")


PROCESSES = {"evaluator": "ray::Evaluator", "decode worker": "ray::decode", "publishing worker": "ray::prepare"}
"""What may be killed on a node -> the title of its process."""


class Chaos:
    """An ingest that is run again whenever it ends early, and the means to disturb it."""

    def __init__(self, seed: int) -> None:
        self.random, self.faults, self.runs = random.Random(seed), Counter[str](), Counter[str]()
        self.deck: list[str] = []
        self.postgres, self.s3 = Postgres(), S3()
        os.environ.update(PGPASSWORD=self.postgres.password, **self.s3.environment)
        database = self.postgres.database()
        self.url = self.postgres.url(database, f"s3://{S3.BUCKET}/{database}")
        qubastore.init(self.url).close()
        self.nodes = Nodes(2)
        self.driver = self.begin()

    def begin(self) -> subprocess.Popen[str]:
        self.runs["started"] += 1
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        more = ("--evaluators-per-gpu", 2, *CONDITIONS)
        driver: subprocess.Popen[str] = start(self.url, MODELS, IMAGES, self.nodes.address, *more, output=self.log)
        return driver

    def ended(self) -> bool:
        """Whether all is done; an ingest that ended early is started again."""
        if self.driver.poll() is None:
            return False
        code = self.driver.returncode
        self.runs["ended well" if code == 0 else "was killed" if code < 0 else "gave up"] += 1
        if code == 0:
            return True
        if code > 0:
            self.log.seek(0)
            print("  it said:", " | ".join(self.log.read().strip().splitlines()[-4:])[:600], flush=True)
        self.driver = self.begin()
        return False

    def disturb(self, long_cut: bool) -> str:
        """One fault; its name."""
        if not self.deck:
            self.deck = ["evaluator", "evaluator", "decode worker", "node", "driver", "postgres", "s3 for 2 s"]
            self.deck += ["publishing worker", "driver while it publishes"]
            self.random.shuffle(self.deck)
        kind = "s3 for 30 s" if long_cut else self.deck.pop()
        if kind in PROCESSES:
            there = of_cluster(self.nodes, PROCESSES[kind])
            if not there:
                return "nobody there"
            os.kill(self.random.choice(there), signal.SIGKILL)
        elif kind == "node":
            self.nodes.kill(self.random.choice(self.nodes.nodes))
            time.sleep(self.random.uniform(0, 2))
            self.nodes.nodes.append(self.nodes.add())
        elif kind == "driver while it publishes" and not self.wait_for_publishing():
            return "nothing to publish"
        elif kind.startswith("driver"):
            self.driver.kill()
            self.driver.wait()
        elif kind == "postgres":
            self.postgres.kill()
            time.sleep(self.random.uniform(0, 2))
            self.postgres.start()
        else:
            self.s3.proxy.cut()
            time.sleep(30 if long_cut else 2)
            self.s3.proxy.mend()
        return kind

    def wait_for_publishing(self) -> bool:
        """Wait until a run's shards are all committed and it is not published yet; False if none is for 20 seconds."""
        ready = """
            select 1 from runs join (select run_id, count(*) as n from shards group by run_id) as done using (run_id)
            where done.n = runs.n_shards and run_id not in (select run_id from run_summary)
        """
        deadline = time.monotonic() + 20
        with qubastore.open(self.url) as store:
            while time.monotonic() < deadline and self.driver.poll() is None:
                if store.rows(ready):
                    return True
                time.sleep(0.05)
        return False

    def kill_again_and_again(self, store: object, *words: str, kills: int = 5) -> None:
        """Run a command on a store, kill it after a random time, several times, and then let it finish."""
        argv = [sys.executable, "-m", "qubastore.cli.main", *words, "--store", str(store)]
        for _ in range(kills):
            started = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(self.random.uniform(0.3, 3))
            self.faults[f"{words[0]} {'killed' if started.poll() is None else 'done before'}"] += 1
            started.kill()
            started.wait()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        self.driver.kill()
        self.nodes.stop()
        self.postgres.stop()
        self.s3.stop()


def main(seconds: float, seed: int) -> int:
    """Disturb, finish, compare."""
    with tempfile.TemporaryDirectory(prefix="qubastore-chaos-") as folder:
        began = time.monotonic()
        qubastore.init(Path(folder) / "laptop").close()
        laptop = start(Path(folder) / "laptop", MODELS, IMAGES, None, *CONDITIONS)
        said, _ = laptop.communicate()
        assert laptop.returncode == 0, said
        print(f"undisturbed, on a laptop: {time.monotonic() - began:.0f} s", flush=True)
        chaos = Chaos(seed)
        try:
            began, cut = time.monotonic(), False
            while (past := time.monotonic() - began) < seconds:
                time.sleep(chaos.random.uniform(2, 5))
                long_cut = past > seconds / 2 and not cut
                cut = cut or long_cut
                kind = chaos.disturb(long_cut)
                chaos.faults[kind] += 1
                print(f"{past:5.0f} s: {kind}", flush=True)
                if chaos.ended():
                    print("  the ingest is done: from the beginning, once more", flush=True)
                    chaos.driver = chaos.begin()
            while not chaos.ended():
                time.sleep(0.5)
            chaos.kill_again_and_again(chaos.url, "compact", "--keep-days", "0")
            with qubastore.open(Path(folder) / "laptop") as calm, qubastore.open(chaos.url) as stormy:
                for name, want, got in zip(
                    ("outputs", "logits", "features", "shards", "sums", "metrics"),
                    numbers(calm),
                    numbers(stormy),
                    strict=True,
                ):
                    assert got == want, f"{name} differ"
                    print(f"{name}: {len(got):,} rows, the same to the last bit", flush=True)
                faults = [
                    fault for fault in examine(stormy, deep=True) if fault.check not in ("orphans", "dead_ingests")
                ]
                assert faults == [], faults
                orphans = [fault.found for fault in examine(stormy) if fault.check == "orphans"]
            old = unpack(6, Path(folder))
            for words in (("migrate",), ("compact", "--keep-days", "0")):
                chaos.kill_again_and_again(old, *words)
            with qubastore.open(old) as store:
                faults = [fault for fault in examine(store, deep=True) if fault.check != "orphans"]
                assert faults == [], faults
                print("an old store: migrated and compacted, nothing wrong", flush=True)
            print(f"faults: {dict(chaos.faults)}; ingests: {dict(chaos.runs)}; {time.monotonic() - began:.0f} s")
            print(f"doctor --deep finds nothing wrong; {orphans or 'no orphans'}")
        finally:
            chaos.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
