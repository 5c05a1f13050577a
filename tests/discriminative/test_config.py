"""What a run may be asked for: VladVA's values, its ladder, and the values that are refused."""

import pytest

from workbench.discriminative import LADDER, DiscriminativeConfig


def test_values_of_the_paper():
    own = DiscriminativeConfig()
    assert (own.rank, own.alpha, own.batch_size, own.epochs, own.learning_rate) == (16, 16, 1024, 7, 1e-4)
    assert own.contrastive_weight == own.next_token_weight == 1


def test_the_ladder_adds_one_thing_at_a_time():
    told = {name: (each.soft_prompts, each.lora, each.next_token_weight > 0) for name, each in LADDER.items()}
    assert told == {
        "soft prompts": (True, False, False),
        "LoRA": (False, True, False),
        "both": (True, True, False),
        "both, next token": (True, True, True),
    }


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"soft_prompts": False, "lora": False}, "nothing learns"),
        ({"contrastive_weight": 0, "next_token_weight": 0}, "both 0"),
        ({"precision": "float16"}, "choose one of float32, bfloat16"),
        ({"batch_size": 1}, "batch_size=1; give a whole number from 2 on"),
        ({"rank": 0}, "rank=0"),
        ({"micro_batch": 0}, "micro_batch=0"),
        ({"steps": True}, "steps=True"),
        ({"learning_rate": 0}, "learning_rate=0; give a number above 0"),
        ({"prompt_rate": -1.0}, "prompt_rate=-1.0"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1; give 0 or more"),
    ],
)
def test_refused(values, told):
    with pytest.raises(ValueError, match=told):
        DiscriminativeConfig(**values)
