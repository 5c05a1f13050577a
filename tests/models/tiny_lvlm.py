"""Vision–language models of random weights, small enough to be made and saved by a test: a LLaVA and a Qwen2-VL."""

import torch

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "<video>", "<frame>", "</frame>"]
WORDS = [
    *"user assistant : summary compress describe this above image picture sentence in one word".split(),
    *"a red blue cube ball left right of on the cat .".split(),
]
CHAT = (
    "{% for message in messages %}{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}PLACE {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


def tokenizer(side="left"):
    """Words of a small vocabulary, lower-casing; <s> stands before a text, as Llama's tokenizer puts it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*SPECIAL, *WORDS])}, unk_token="<unk>"))
    raw.normalizer, raw.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    roles = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    extra = {"image_token": "<image>", "video_token": "<video>"}
    frame = {"vision_bos_token": "<frame>", "vision_eos_token": "</frame>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **roles, extra_special_tokens={**extra, **frame}, padding_side=side
    )


TEXT = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,  # so that words and pictures differ by more than rounding
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llava_processor(size=32, *, side="left", chat=CHAT, patch_size=8):
    from transformers import CLIPImageProcessor, LlavaProcessor

    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer(side),
        patch_size=patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat and chat.replace("PLACE", "<image>"),
    )


def save_llava(folder, *, processor=True, side="left", learned_positions=False, **text):
    from transformers import CLIPVisionConfig, GPT2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**tower, image_size=32, patch_size=8),
        text_config=(GPT2Config if learned_positions else LlamaConfig)(**{**TEXT, **text}),
        image_token_id=SPECIAL.index("<image>"),
        vision_feature_layer=-1,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    if processor:
        llava_processor(side=side).save_pretrained(folder)


def save_qwen(folder):
    """Qwen2-VL: pictures keep their shape, four patches of 8 px become one token."""
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessor, Qwen2VLProcessor
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

    config = Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8},
        text_config={
            **TEXT,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
        image_token_id=SPECIAL.index("<image>"),
        video_token_id=SPECIAL.index("<video>"),
        vision_start_token_id=SPECIAL.index("<frame>"),
        vision_end_token_id=SPECIAL.index("</frame>"),
    )
    torch.manual_seed(0)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    sizes = {"patch_size": 8, "merge_size": 2, "size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}}
    Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer(),
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=CHAT.replace("PLACE", "<frame><image></frame>"),
    ).save_pretrained(folder)
