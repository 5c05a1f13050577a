"""A real Ray on this machine: the same bytes as the plain loop, whatever happens to its workers, and nothing leaves."""

import ipaddress
import os
import signal
import threading
import time
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from workbench.extract import embeddings, ray_engine
from workbench.extract.ray_engine import QUIET
from workbench.models.open_clip import OpenClipEncoder
from workbench.models.registry import load_model

if find_spec("ray") is None:
    pytest.skip("ray is not installed", allow_module_level=True)


POISON = (41, 41)


class SlowEncoder(OpenClipEncoder):
    """Takes its time, so that there is a half-way; and a picture of one size ends whoever opens it."""

    broken = False

    def encode_pixels(self, pixels, **options):
        if self.broken:
            raise RuntimeError("the shapes do not fit")
        time.sleep(0.3)
        return super().encode_pixels(pixels, **options)

    def preprocess(self, image, image_size=None):
        if image.image.size == POISON:
            os._exit(9)
        return super().preprocess(image, image_size)


@pytest.fixture(scope="module")
def model(clip_folder):
    model = load_model(f"local-dir:{clip_folder}", device="cpu")
    model.__class__ = SlowEncoder
    return model


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for i in range(48):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"{i:02d}.png")
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def running():
    """One Ray for all tests here, started as a run starts it: it takes a while."""
    ray = ray_engine.import_ray()
    with ray_engine.running(ray, 2, objects=256 << 20):
        yield ray


def workers():
    return [p for p in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]


def kill_one_when(kept, killed):
    """Once `kept()` shards are there, kill a worker as the system would."""
    deadline = time.monotonic() + 90
    while (kept() < 3 or not workers()) and time.monotonic() < deadline:
        time.sleep(0.02)
    victim = workers()[0]
    victim.send_signal(signal.SIGKILL)
    killed.append(victim.pid)


def test_a_killed_worker_changes_no_byte(running, model, pictures, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the workers
    plain = embeddings(model, pictures, store=tmp_path / "plain", shard_size=4, batch_size=4)
    torch.set_num_threads(threads)
    store, killed = tmp_path / "ray", []
    options = {"store": store, "shard_size": 4, "batch_size": 4, "engine": "ray", "workers": 2}
    hand = threading.Thread(target=kill_one_when, args=(lambda: len(list(store.glob("??/*/manifest.json"))), killed))
    hand.start()
    found = embeddings(model, pictures, **options)
    hand.join()
    assert killed
    assert found.computed == found.shards > 6
    assert found.ids == plain.ids
    assert np.array_equal(np.asarray(found["post"]), np.asarray(plain["post"]))
    assert list(found.failed) == ["bad.jpg"]
    assert embeddings(model, pictures, **options).computed == 0
    assert not list(store.glob(".tmp-*"))


def test_a_picture_that_ends_its_worker_is_reported(running, model, pictures, tmp_path):
    listed = {path.name: path for path in sorted(pictures.iterdir())[:12]}
    listed["poison.png"] = tmp_path / "poison.png"
    Image.new("RGB", POISON).save(listed["poison.png"])
    found = embeddings(model, listed, store=tmp_path / "s", shard_size=4, batch_size=4, engine="ray", workers=2)
    assert list(found.failed) == ["poison.png"]
    assert "ended the process" in found.failed["poison.png"]
    assert len(found) == 12


def test_a_failure_inside_a_worker_is_said_in_a_sentence(running, model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "broken", True, raising=False)
    with pytest.raises(RuntimeError, match=r"Ray gave up \(.*the shapes do not fit.*finished shards are kept"):
        embeddings(model, pictures, store=tmp_path, engine="ray", workers=1)


def test_every_socket_of_ray_is_on_this_machine(running):
    """Addresses that its processes listen on or talk to; a look-up of cloud metadata would show as another."""
    seen = set()
    for process in psutil.Process().children(recursive=True):
        for socket in process.net_connections("inet"):
            seen |= {end.ip for end in (socket.laddr, socket.raddr) if end}
    assert seen
    assert {
        ip for ip in seen if not ipaddress.ip_address(ip.partition("%")[0].removeprefix("::ffff:")).is_loopback
    } == set()


def test_the_environment_is_as_it_was(running):
    assert not set(QUIET) & set(os.environ) - {"RAY_USAGE_STATS_ENABLED"}  # make sets that one itself
    assert not os.environ["HOME"].startswith("/tmp/ray")


def test_a_ray_that_was_imported_with_its_look_ups_is_not_started(running, monkeypatch):
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.setattr(running, "is_initialized", lambda: False)
    with pytest.raises(RuntimeError, match=r"start your own with ray.init\(\) and call again, or restart"):
        ray_engine.import_ray()
