"""Image-text-to-text models of the architectures that users choose, tiny and untrained, as folders.

Each ``save_*`` writes what a hub's repository of that architecture holds; ``brief`` makes an
untrained model end its strings.
"""

import json

import torch
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MllamaConfig,
    MllamaForConditionalGeneration,
    MllamaImageProcessor,
    MllamaProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from telltale.models.files import mini_folder

QWEN_MARKS = (
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>",
    "<|im_end|>",
)  # fmt: skip
QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


MLLAMA_TILES = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
MLLAMA_TEMPLATE = (
    "{% for m in messages %}{{ bos_token }}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|image|>{% else %}{{ c.text }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)


def brief(model, tokenizer):
    """Make a random model prefer to end its strings, as a trained one does: it stays random."""
    ends = [
        i for t, i in tokenizer.get_vocab().items() if t.startswith('"') or "}" in t or "]" in t
    ]
    with torch.no_grad():
        head = model.get_output_embeddings()
        head.bias = torch.nn.Parameter(torch.zeros(head.out_features))
        head.bias[ends] = 30.0
    return model


def save_llava(folder):
    tokenizer = AutoTokenizer.from_pretrained(str(mini_folder() / "tokenizer"))
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            image_size=32, patch_size=16, projection_dim=32,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=4096, pad_token_id=0, bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=16, vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )  # fmt: skip
    model.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))


def save_qwen2_5(folder):
    tokenizer, ids = qwen_tokenizer()
    config = Qwen2_5_VLConfig(
        text_config=qwen_text(tokenizer),
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 14, "fullatt_block_indexes": [1],
        },
        **ids,
    )  # fmt: skip
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56)
    torch.manual_seed(0)
    save_qwen(
        folder, Qwen2_5_VLForConditionalGeneration(config), tokenizer, images, Qwen2_5_VLProcessor
    )


def save_qwen3(folder):
    tokenizer, ids = qwen_tokenizer()
    config = Qwen3VLConfig(
        text_config=qwen_text(tokenizer) | {"head_dim": 16},
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
        **ids,
    )  # fmt: skip
    images = Qwen2VLImageProcessor(min_pixels=32 * 32, max_pixels=64 * 64, patch_size=16)
    torch.manual_seed(0)
    save_qwen(folder, Qwen3VLForConditionalGeneration(config), tokenizer, images, Qwen3VLProcessor)


def qwen_tokenizer():
    tokenizer = AutoTokenizer.from_pretrained(str(mini_folder() / "tokenizer"))
    tokenizer.add_special_tokens({"additional_special_tokens": list(QWEN_MARKS)})
    named = ("vision_start", "vision_end", "image", "video")
    return tokenizer, {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark)
        for name, mark in zip(named, QWEN_MARKS, strict=False)
    }


def qwen_text(tokenizer):
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "max_position_embeddings": 8192, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4},
    }  # fmt: skip


def save_qwen(folder, model, tokenizer, images, processor):
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    images.save_pretrained(str(folder))
    (folder / "chat_template.jinja").write_text(QWEN_TEMPLATE)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": processor.__name__})
    )


def save_mllama(folder):
    tokenizer = AutoTokenizer.from_pretrained(str(mini_folder() / "tokenizer"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|image|>"]})
    config = MllamaConfig(
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_global_layers": 1, "attention_heads": 2, "image_size": 32, "patch_size": 16,
            "max_num_tiles": 4, "vision_output_dim": 64, "intermediate_layers_indices": [1],
            "supported_aspect_ratios": MLLAMA_TILES,
        },
        text_config={
            # the published ones keep the image token out of the vocabulary that is written with
            "vocab_size": len(tokenizer) - 1, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2,
            "cross_attention_layers": [1], "max_position_embeddings": 8192, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|image|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model = MllamaForConditionalGeneration(config)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    images = MllamaImageProcessor(size={"height": 32, "width": 32}, max_image_tiles=4)
    model.save_pretrained(str(folder))
    MllamaProcessor(images, tokenizer, chat_template=MLLAMA_TEMPLATE).save_pretrained(str(folder))
