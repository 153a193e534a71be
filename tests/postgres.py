"""A PostgreSQL of the tests' own: Debian's programs, in a temporary folder, on a free port."""

import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import sqlalchemy as sa

HOW_TO_GET = "on Debian, apt-get install postgresql"
# PostgreSQL and pgbouncer refuse to run as root, so where the tests do they run as the user that Debian's package made.
AS_USER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_programs():
    """Return the folder of PostgreSQL's newest programs, None where there are none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    found = shutil.which("initdb") or (debian and debian[-1])
    return Path(found).parent if found else None


class Postgres:
    """A running server; `create` makes a database in it."""

    def __init__(self, programs):
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="hamlet-postgres-"))
        user = "postgres" if AS_USER else pwd.getpwuid(os.geteuid()).pw_name
        shutil.chown(self._folder, user)
        port = free_port()
        self._url = f"postgresql://{user}@127.0.0.1:{port}"
        self._numbers = itertools.count(1)
        self._run("initdb", "--auth=trust", "--encoding=UTF8", "--no-sync", "--username", user)
        with (self._folder / "data" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                "max_connections = 200\nfsync = off\nautovacuum = off\n"  # it need not survive a power cut
            )
        self.start()

    def _run(self, program, *words):
        command = [*AS_USER, str(self._programs / program), "--pgdata", str(self._folder / "data"), *words]
        done = subprocess.run(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0, done.stdout

    def start(self):
        self._run("pg_ctl", "start", "--wait", "--log", str(self._folder / "output"))

    def stop(self, how="fast"):
        """Stop it: "fast" tells its clients, "immediate" is like a crash."""
        self._run("pg_ctl", "stop", "--wait", "--mode", how)

    def create(self, words=""):
        """Return the URL of a new, empty database."""
        name = f"hamlet_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {words}")
        return f"{self._url}/{name}"

    @contextlib.contextmanager
    def database(self, words=""):
        """The same for a while; then it is dropped, whoever is connected."""
        url = self.create(words)
        try:
            yield url
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def execute(self, statement):
        engine = sa.create_engine(f"{self._url}/postgres", isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    def remove(self):
        with contextlib.suppress(AssertionError):
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def pgbouncer(program, url):
    """Run Debian's pgbouncer, which gives each transaction another session, before a database; give its URL."""
    place = sa.make_url(url)
    folder = Path(tempfile.mkdtemp(prefix="hamlet-pgbouncer-"))
    port = free_port()
    (folder / "ini").write_text(
        f"[databases]\n* = host={place.host} port={place.port} user={place.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 5\n"
    )
    shutil.chown(folder, place.username)
    process = subprocess.Popen([*AS_USER, program, "--quiet", folder / "ini"], cwd="/", stderr=subprocess.DEVNULL)
    try:
        yield place.set(port=port).render_as_string()
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder)
