"""Two processes with half of every batch each give the loss, the gradients and the weights of one."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from tests.aligning.test_align import SMALL, pairs
from workbench.aligning import AlignConfig, align
from workbench.aligning.spread import Spread
from workbench.aligning.step import loss_between

CASES = {
    "sigmoid": {"loss": "sigmoid", "captions": 2},
    "infonce": {"loss": "infonce"},
}


def config(name):
    return AlignConfig(**{**SMALL, "steps": 6, "batch_size": 31, "optimiser": "adamw", **CASES[name]})


def gradients(name):
    """Loss and gradients of one batch of 31, whoever computes them."""
    data, chosen = pairs(captions=2), config(name)
    torch.manual_seed(0)
    head = chosen.build(*data.widths)
    spread = Spread(head)
    images, texts = data.rows(spread.share(torch.arange(31).numpy()), chosen.captions)
    loss = spread.loss(images, texts, lambda *made: loss_between(chosen, *made))
    loss.backward()
    found = {key: value.grad.clone() for key, value in head.named_parameters()}
    return {"loss": loss.detach(), **found}


def _process(rank, size, folder):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    for name in CASES:
        save_file(gradients(name), f"{folder}/{name}-{rank}.safetensors")
    trained = align(pairs(captions=2), config("sigmoid"), validation=pairs(40, seed=1), folder=f"{folder}/run")
    save_file(dict(trained.head.state_dict()), f"{folder}/trained-{rank}.safetensors")
    try:  # as on two machines, the second of which has an empty folder of that name
        align(pairs(captions=2), config("sigmoid"), validation=pairs(40, seed=1), folder=f"{folder}/run{rank or ''}")
    except ValueError as error:
        Path(f"{folder}/refused-{rank}").write_text(str(error))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spread")
    torch.multiprocessing.spawn(_process, (2, str(folder)), nprocs=2)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_whole_batch(folder, name):
    alone = gradients(name)
    for rank in range(2):
        found = load_file(folder / f"{name}-{rank}.safetensors")
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            assert torch.allclose(found[key], value, rtol=1e-5, atol=1e-5 * float(value.abs().max())), key


def test_training_together_is_training_alone(folder):
    alone = align(pairs(captions=2), config("sigmoid"), validation=pairs(40, seed=1)).head.state_dict()
    both = [load_file(folder / f"trained-{rank}.safetensors") for rank in range(2)]
    for key, value in alone.items():
        assert torch.equal(both[0][key], both[1][key])
        assert torch.allclose(both[0][key], value, atol=1e-4)
    assert (folder / "run" / "checkpoint.safetensors").is_file()


def test_a_folder_that_is_not_shared_is_refused_by_all(folder):
    for rank in range(2):
        assert "give a folder that all of them share" in (folder / f"refused-{rank}").read_text()


def test_a_batch_smaller_than_the_group_is_refused():
    spread = Spread(config("sigmoid").build(12, 10))
    spread.size = 5
    with pytest.raises(ValueError, match="a batch of 4 for 5 processes"):
        spread.share(torch.arange(4).numpy())
