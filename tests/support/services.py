"""Real servers for tests, on loopback: PostgreSQL from the system, SeaweedFS from PyPI, a proxy that can be cut."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def postgres_programs() -> Path | None:
    """Where PostgreSQL's programs lie; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parent.parent.name))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Postgres:
    """A cluster of its own in a new folder, with a password; PostgreSQL refuses to run as root, so root gives way."""

    def __init__(self) -> None:
        programs = postgres_programs()
        assert programs is not None
        self._programs = programs
        self.port, self.password = free_port(), secrets.token_hex(12)
        self._folder = Path(tempfile.mkdtemp(prefix="qubastore-postgres-"))
        (self._folder / "password").write_text(self.password)
        self._as: list[str] = []
        if os.geteuid() == 0:
            self._as = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
            subprocess.run(["chown", "-R", "postgres", str(self._folder)], check=True)
        self._run(
            "initdb", "-D", self._data, "-U", "quba", "-A", "scram-sha-256", "--pwfile", self._folder / "password"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> None:
        """Start, or start again after a kill."""
        options = ["-p", self.port, "-h", HOST, "-k", self._folder, "-c", "max_connections=60"]
        command = [*self._as, str(self._programs / "postgres"), "-D", str(self._data), *map(str, options)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            check = [str(self._programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port), "-U", "quba"]
            if subprocess.run(check).returncode == 0:
                return
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server and all its sessions as a power cut would."""
        assert self._process is not None
        postmaster = self.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for pid in (postmaster, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + 10
        # The shared memory must be let go before the next start.
        while any(map(_runs, children)) and time.monotonic() < deadline:
            time.sleep(0.02)

    def database(self) -> str:
        """A new database; its name."""
        name = f"d{secrets.token_hex(4)}"
        command = [str(self._programs / "createdb"), "-h", HOST, "-p", str(self.port), "-U", "quba", name]
        done = subprocess.run(command, env={**os.environ, "PGPASSWORD": self.password}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return name

    def url(self, database: str, data: object) -> str:
        return f"postgres://quba@{HOST}:{self.port}/{database}?data={data}"

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _runs(pid: str) -> bool:
    """Whether a process is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def seaweed() -> Path | None:
    """Where SeaweedFS's program lies."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    return Path(found) if found else None


class S3:
    """SeaweedFS behind a proxy: all its parts in one process, on a disk; it checks signatures."""

    BUCKET = "quba"

    def __init__(self) -> None:
        program = seaweed()
        assert program is not None
        self._folder = Path(tempfile.mkdtemp(prefix="qubastore-s3-"))
        port = free_port()
        self.proxy = Proxy(port)
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.proxy.port}",
            "AWS_ACCESS_KEY_ID": "quba-key",
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        keys = {"accessKey": "quba-key", "secretKey": self.environment["AWS_SECRET_ACCESS_KEY"]}
        who = {"name": "quba", "credentials": [keys], "actions": ["Admin", "Read", "Write", "List"]}
        (self._folder / "s3.json").write_text(json.dumps({"identities": [who]}))
        ports = {
            f"-{part}": free_port()
            for part in (
                "master.port",
                "master.port.grpc",
                "volume.port",
                "volume.port.grpc",
                "filer.port",
                "filer.port.grpc",
                "s3.port.grpc",
            )
        }
        options = {
            "-dir": self._folder,
            "-ip": HOST,
            "-ip.bind": HOST,
            "-s3.port": port,
            "-s3.config": self._folder / "s3.json",
            "-s3.autoCreateBucket": "false",
            "-s3.port.iceberg": 0,
            "-s3.port.lance": 0,
            "-master.volumeSizeLimitMB": 64,
            "-volume.max": 0,
            **ports,
        }
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), "server", "-s3", *(f"{name}={value}" for name, value in options.items())],
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=self._folder,
            )
        try:
            self._make_bucket()
        except BaseException:
            self.stop()
            raise

    def _make_bucket(self) -> None:
        from pyarrow import fs

        files = fs.S3FileSystem(
            access_key=self.environment["AWS_ACCESS_KEY_ID"],
            secret_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=self.environment["AWS_ENDPOINT_URL"],
            region=self.environment["AWS_REGION"],
            allow_bucket_creation=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                files.create_dir(self.BUCKET)
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()[-3000:]) from None
                time.sleep(0.2)

    def stop(self) -> None:
        self.proxy.cut()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Proxy:
    """Passes connections on to a port, until it is cut: then nobody answers, and open connections break."""

    def __init__(self, target: int) -> None:
        self._target, self.port = target, free_port()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        listener = socket.create_server((HOST, self.port), backlog=128, reuse_port=False)
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        listener, self._listener = self._listener, None
        for end in [*([listener] if listener else []), *self._open]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((HOST, self._target))
            except OSError:
                client.close()
                continue
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            self._open.discard(end)
            end.close()
