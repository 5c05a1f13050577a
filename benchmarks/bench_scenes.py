"""Drawing and saying scenes at 64 pixels on one core, beside copying as many pictures."""

import time

import numpy as np
import torch
from timing import in_turn, row

from workbench.data.negatives import negatives
from workbench.data.scenes import batch, draw, scenes

torch.set_num_threads(1)
N = 20_000

start = time.process_time()  # everything, from cold caches on
for scene in scenes(N, 0):
    draw(scene, 64)
    scene.caption  # noqa: B018
taken = time.process_time() - start
row(f"{N} scenes of 64 px with captions, caches cold", f"{N / taken:.0f} scenes/s of one core", "≥ 2000")

drawn = [draw(scene, 64) for scene in scenes(2000, 1)]
ours, copied, ratio = in_turn(lambda: [draw(scene, 64) for scene in scenes(2000, 1)], lambda: np.stack(drawn))
row("2000 scenes, caches warm", f"{2000 / ours:.0f} scenes/s; copying them {2000 / copied:.0f}/s", "-")
ours, free, ratio = in_turn(lambda: batch(0, 0, 128), lambda: batch(0, 0, 128, collision_free=False))
row("a collision-free batch of 128", f"{1000 * ours:.1f} ms, {ratio:.2f} of a naive one", "-")

captions = [scene.caption for scene in scenes(2000, 2)]
start = time.process_time()
made = sum(len(negatives(caption, seed=i)) for i, caption in enumerate(captions))
row(
    f"{made} negatives of {len(captions)} captions",
    f"{len(captions) / (time.process_time() - start):.0f} captions/s",
    "-",
)
