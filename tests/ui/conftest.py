"""A real JupyterLab and a real browser: one server for the session, one fresh page for each notebook that a test opens."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
PICTURES = ROOT / "assets/pictures"
PATIENCE = 120  # seconds for any one step: two shared cores that import torch are slow

SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    # Cells far below would otherwise stay out of the page until somebody scrolls there.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
CURRENT = "window.jupyterapp?.shell?.currentWidget"
STDERR = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]'


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    found = (
        shutil.which(name)
        for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
        if name
    )
    executable = next((path for path in found if path), None)
    if executable is None:
        pytest.fail("no Chromium or Chrome found: install the package 'chromium' or set CHROMIUM=/path/to/chrome")
    quiet = ["background-networking", "component-update", "sync", "default-apps", "extensions", "gpu", "dev-shm-usage"]
    return {
        **browser_type_launch_args,
        "executable_path": executable,
        "args": [
            "--no-sandbox",  # containers that run as root cannot have one, and only our own notebooks are opened
            "--no-first-run",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            *(f"--disable-{feature}" for feature in quiet),
        ],
    }


@dataclass(frozen=True)
class LabServer:
    url: str
    root: Path
    log: Path


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory, delete_output_dir, pytestconfig):
    """JupyterLab on a free port, over a folder of its own, with nothing of this user's configuration."""
    home = tmp_path_factory.mktemp("jupyter")
    root = tmp_path_factory.mktemp("root")
    overrides = home / "config/labconfig/default_setting_overrides.json"
    overrides.parent.mkdir(parents=True)
    overrides.write_text(json.dumps(SETTINGS))
    log = Path(pytestconfig.getoption("--output")) / "jupyterlab.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = LabServer(f"http://127.0.0.1:{port}", root, log)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={root}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly", "--LabApp.news_url=None"),
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    folders = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    search = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, **folders, "IPYTHONDIR": str(home / "ipython"), "PYTHONPATH": search}
    with log.open("w") as stream:
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            _wait_until_up(process, server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_up(process: subprocess.Popen, server: LabServer) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urlopen(f"{server.url}/api/status", timeout=5).close()
            return
        except (URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start; the end of {server.log}:\n{server.log.read_text()[-3000:]}")


@dataclass
class LabPage:
    """An open notebook. `page` is playwright's; the lists fill while the notebook is open."""

    page: object
    requests: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)

    def run_all(self, timeout: float = PATIENCE) -> None:
        """Clear what is stored, run every cell, and wait until the last one is done."""
        self.command("notebook:clear-all-cell-outputs")
        self.command("notebook:run-all-cells", timeout)
        self.page.wait_for_function(
            f"{CURRENT}.sessionContext.session.kernel.status === 'idle'", timeout=timeout * 1000
        )

    def command(self, name: str, timeout: float = PATIENCE) -> None:
        """One of JupyterLab's commands, waited for: `evaluate` alone would wait without end."""
        self.page.evaluate(
            """name => { window.commandDone = false;
                         window.jupyterapp.commands.execute(name).finally(() => { window.commandDone = true; }); }""",
            name,
        )
        self.page.wait_for_function("window.commandDone", timeout=timeout * 1000)

    @property
    def outside_requests(self) -> list[str]:
        """Everything asked of another machine; data: and blob: addresses have no host."""
        return [url for url in self.requests if urlsplit(url).hostname not in (None, "127.0.0.1")]

    def stderr_texts(self) -> list[str]:
        """Warnings and tracebacks as a reader sees them, those inside widgets too."""
        return self.page.locator(STDERR).all_inner_texts()


@pytest.fixture
def lab_page(lab_server, new_context):
    """`lab_page("00_start_here.ipynb")`, or the path of another notebook: a fresh copy, open, with its kernel ready."""
    opened = []

    def open_notebook(notebook: str | Path, *, width: int = 1280, height: int = 900) -> LabPage:
        source = NOTEBOOKS / notebook
        shutil.copy(source, lab_server.root / source.name)
        page = new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(PATIENCE * 1000)
        lab = LabPage(page)
        opened.append(lab)
        page.on("request", lambda request: lab.requests.append(request.url))
        page.on("websocket", lambda websocket: lab.requests.append(websocket.url))
        page.on("console", lambda message: lab.console_errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: lab.console_errors.append(str(error)))
        page.goto(f"{lab_server.url}/lab/tree/{source.name}?reset")
        page.wait_for_function(f"{CURRENT}?.sessionContext?.session?.kernel?.status === 'idle'")
        page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        return lab

    yield open_notebook
    for lab in opened:  # each kernel holds its models until it is told to stop
        lab.page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")


@pytest.fixture
def keep_picture(request):
    """keep_picture(locator, "panel.png"): among the test's output, or as the README's picture (KEEP_PICTURES=1)."""

    def keep(locator, name):
        folder = PICTURES if os.environ.get("KEEP_PICTURES") else Path(request.config.getoption("--output"))
        folder.mkdir(parents=True, exist_ok=True)
        locator.screenshot(path=folder / name)

    return keep
