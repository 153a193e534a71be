"""A real nginx in front of a server, set up as docs/deploy.md says."""

import contextlib
import re
import socket
import subprocess

from clients import wait_until
from conftest import need
from postgres import free_port

from webapp.config import ROOT

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
SITE, MANY = re.findall(r"```nginx\n(.*?)```", GUIDE, re.DOTALL)


@contextlib.contextmanager
def nginx(folder, hamlet_port):
    """Run it; give its ports: "http" is the guide's site, "https" is the same as if it had been reached over HTTPS."""
    program = need("nginx", "on Debian, apt-get install nginx-light")
    ports = {"http": free_port(), "https": free_port()}
    config = f"daemon off; master_process off; pid {folder}/pid; {MANY} http {{ access_log off;\n"
    config += "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    for scheme, port in ports.items():
        site = SITE if scheme == "http" else SITE[SITE.index("server {") :]  # zones are named once
        site = site.replace("listen [::]:80;", "").replace("listen 80;", f"listen 127.0.0.1:{port};")
        config += site.replace("127.0.0.1:8000", f"127.0.0.1:{hamlet_port}").replace("$scheme", scheme)
    for few, many in {"rate=10r/s": "rate=100000r/s", "hamlet_open 50": "hamlet_open 20000"}.items():
        config = config.replace(few, many)  # as all is one sender's
    (folder / "conf").write_text(config + "}")
    with (folder / "output").open("w") as output:
        process = subprocess.Popen([program, "-p", folder, "-e", "stderr", "-c", folder / "conf"], stderr=output)
    try:
        wait_until(
            lambda: socket.create_connection(("127.0.0.1", ports["https"])).close() is None,
            what=lambda: (folder / "output").read_text(),
        )
        yield ports
    finally:
        process.terminate()
        process.wait(30)
