"""From folders that `extract` wrote to a head that `pair` takes, by the command line."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from tests.aligning.test_align import SMALL, pairs
from workbench.aligning import load_head, run_job
from workbench.cli import main
from workbench.extract.result import Embeddings


@pytest.fixture
def config(tmp_path):
    """Two folders as `extract --out` leaves them, and a configuration file."""
    made = pairs(n=120)
    names = tuple(f"{k}.png" for k in range(120))
    Embeddings(names, {"pre": made.images}).save(tmp_path / "images")
    order = np.random.default_rng(0).permutation(120)
    Embeddings(tuple(f"{k}.png#0" for k in order), {"pre": made.texts[0][order]}).save(tmp_path / "texts")
    places = {key: str(tmp_path / key) for key in ("images", "texts", "out")}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**places, **SMALL, "validation": 0.2, "head": "linear"}))
    return file


def test_a_job_trains_and_keeps_a_head(config, tmp_path, capsys):
    assert main(["train", "sail", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert said.index("What the run will hold in memory") < said.index("A head on two frozen towers")
    again = run_job(config)  # nothing left to do
    head = load_head(tmp_path / "out")
    for key, value in again.head.state_dict().items():
        assert torch.equal(head.state_dict()[key], value)
    assert dict(again.recalls)[again.best_step] > 0.6


def test_under_torchrun_two_processes_train_the_same_head(config, tmp_path):
    alone = run_job(config).head.state_dict()
    stored = json.loads(config.read_text())
    config.write_text(json.dumps({**stored, "out": str(tmp_path / "together")}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = ["--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={port}"]
    command = [sys.executable, "-m", "torch.distributed.run", *here]
    job = ["-m", "workbench", "train", "sail", "--config", str(config)]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([*command, *job], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("A head on two frozen towers") == 1
    together = load_head(tmp_path / "together").state_dict()
    for key, value in alone.items():
        assert torch.allclose(together[key], value, atol=2e-3), key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": None}, "has no 'images'"),
        ({"texts": "/nowhere"}, "/nowhere lacks ids.json or pre.npy; write it with"),
        ({"lr": 1}, "no field 'lr'"),
        ({"kind": "post"}, "lacks ids.json or post.npy"),
        ({"validation": "0.1"}, "validation='0.1' in"),
        ({"validation": 1}, "validation=1 in"),
        ({"device": "tpu"}, "device 'tpu' is not here"),
        ({"steps": "40"}, "steps='40'; give a whole number"),
    ],
)
def test_what_is_wrong_is_one_line(config, capsys, change, words):
    stored = {key: value for key, value in {**json.loads(config.read_text()), **change}.items() if value is not None}
    config.write_text(json.dumps(stored))
    assert main(["train", "sail", "--config", str(config)]) == 2
    assert words in capsys.readouterr().err


def test_rows_without_an_id_are_refused(config, tmp_path, capsys):
    """ids.json of one extraction beside rows of another."""
    file = tmp_path / "images" / "ids.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:-1]))
    assert main(["train", "sail", "--config", str(config)]) == 2
    assert "119 ids but pre.npy has 120 rows" in capsys.readouterr().err


def test_a_folder_without_a_whole_head(config, tmp_path):
    run_job(config)
    head = tmp_path / "out" / "head.safetensors"
    head.write_bytes(head.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"head\.safetensors does not fit head\.json"):
        load_head(tmp_path / "out")
    (tmp_path / "out" / "head.json").write_text("{}")
    with pytest.raises(ValueError, match="has no 'config'"):
        load_head(tmp_path / "out")


def test_a_file_that_is_not_there_or_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        run_job(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        run_job(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list; give an object"):
        run_job(tmp_path / "bad.json")
