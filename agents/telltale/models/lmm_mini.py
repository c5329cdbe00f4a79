"""The mini judge: transformers' own LLaVA over the mini encoder's image tower, with a small Llama.

In: a ``Question``, or a folder of weights. Out: the compact prompt, its images and the answer's
schema; the model and its processor. Two layers of the CLIP tower are replaced: the patch layer by
the DCT stem, and the projector by one that pools patches four by four, so that a crop takes five
tokens. Raises ``WeightsMissing`` naming the file for a folder that lacks one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from telltale.errors import WeightsMissing
from telltale.models import Question
from telltale.models.clip import digest, mini_folder
from telltale.models.dct_stem import DctStem
from telltale.models.lmm_growth import grown
from telltale.models.lmm_prompt import complete_schema

WEIGHTS_FILE = "model.safetensors"
POOL = 4
"""Patches are pooled POOL x POOL: 8 x 8 of them become 4 tokens, one more carries the whole."""
LAYERS = (-2, -1)
"""Tower layers read: patches from the last but one, where masks were supervised; the class token
from both."""
SEPARATORS = (", ", ": ")
FORMAT: dict[str, Any] = {"separators": SEPARATORS, "ensure_ascii": False}
"""How answers are written; the tokenizer was trained on JSON of this form."""

CAUTION = 1.1
"""By how much the logit of an artifact is lowered: training weighs artifacts up, and naming one that is
not there costs more than missing one. Chosen on people of the validation split: an artifact is named
from 0.75 of the probability before."""

TOWER = "model.vision_tower."
INPUTS = ("input_ids", "attention_mask", "pixel_values")


class PoolingProjector(nn.Module):
    """n x (1 + patches) x 2 w tower features to n x (1 + patches / 16) x hidden tokens."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(2 * width)
        self.whole = nn.Linear(2 * width, hidden)
        self.part = nn.Linear(2 * width, hidden)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.project(pooled(features))

    def project(self, tokens: torch.Tensor) -> torch.Tensor:
        """Pooled features (see ``pooled``) to tokens of the language model."""
        tokens = self.norm(tokens.to(self.norm.weight.dtype))
        joined = torch.cat([self.whole(tokens[:, :1]), self.part(tokens[:, 1:])], 1)
        projected: torch.Tensor = self.out(F.gelu(joined))
        return projected


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Tower features of two layers, n x (1 + s*s) x 2w: the class token as it is, and mean and
    maximum of each POOL x POOL patches of the first layer: n x (1 + s*s/16) x 2w."""
    width = features.shape[-1] // 2
    patches = features[:, 1:, :width]
    side = round(patches.shape[1] ** 0.5)
    grid = patches.transpose(1, 2).reshape(-1, width, side, side)
    parts = torch.cat([F.avg_pool2d(grid, POOL), F.max_pool2d(grid, POOL)], 1)
    return torch.cat([features[:, :1], parts.flatten(2).transpose(1, 2)], 1)


def config_of(encoder: Mapping[str, Any], vocabulary: int, image_token: int) -> LlavaConfig:
    """LLaVA's configuration for a tower as ``encoder.json`` describes it."""
    vision = encoder["model_cfg"]["vision_cfg"]
    width = int(vision["width"])
    return LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=int(width * vision.get("mlp_ratio", 4.0)),
            num_hidden_layers=int(vision["layers"]),
            num_attention_heads=width // int(vision.get("head_width", 64)),
            image_size=int(vision["image_size"]),
            patch_size=int(vision["patch_size"]),
            projection_dim=int(encoder["model_cfg"]["embed_dim"]),
            hidden_act="gelu",
        ),
        text_config=LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=10,
            num_attention_heads=4,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=image_token,
        vision_feature_layer=list(LAYERS),
        vision_feature_select_strategy="full",
        image_seq_length=(int(vision["image_size"]) // int(vision["patch_size"]) // POOL) ** 2 + 1,
        tie_word_embeddings=True,
    )


def build(config: LlavaConfig) -> Any:
    """An untrained mini judge: LLaVA with the stem and the pooling projector in their places."""
    model: Any = LlavaForConditionalGeneration(config)
    width, hidden = config.vision_config.hidden_size, config.text_config.hidden_size
    tower = model.model.vision_tower
    embeddings = getattr(tower, "vision_model", tower).embeddings
    embeddings.patch_embedding = DctStem(width)
    model.model.multi_modal_projector = PoolingProjector(width, hidden)
    return model.eval()


def tower_weights(encoder: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """The image tower of an open_clip state dict under the names of transformers' CLIP."""
    out: dict[str, torch.Tensor] = {
        "embeddings.class_embedding": encoder["visual.class_embedding"],
        "embeddings.position_embedding.weight": encoder["visual.positional_embedding"],
    }
    for theirs, ours in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
        for part in ("weight", "bias"):
            out[f"{ours}.{part}"] = encoder[f"visual.{theirs}.{part}"]
    for name, value in encoder.items():
        if name.startswith("visual.conv1."):
            out["embeddings.patch_embedding." + name.removeprefix("visual.conv1.")] = value
    names = {
        "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj",
    }  # fmt: skip
    for n in range(layers):
        block, layer = f"visual.transformer.resblocks.{n}", f"encoder.layers.{n}"
        for theirs, ours in names.items():
            for part in ("weight", "bias"):
                out[f"{layer}.{ours}.{part}"] = encoder[f"{block}.{theirs}.{part}"]
        for part in ("weight", "bias"):
            joined = encoder[f"{block}.attn.in_proj_{part}"].chunk(3)
            for which, value in zip("qkv", joined, strict=True):
                out[f"{layer}.self_attn.{which}_proj.{part}"] = value
    return out


def load_tower(model: Any, encoder: Mapping[str, torch.Tensor]) -> None:
    """Give a built judge the image tower of an encoder's weights."""
    tower = model.model.vision_tower
    prefix = "vision_model." if hasattr(tower, "vision_model") else ""
    layers = model.config.vision_config.num_hidden_layers
    state = {prefix + k: v.float() for k, v in tower_weights(encoder, layers).items()}
    tower.load_state_dict(state)


def load_rest(model: Any, judge: Path) -> None:
    """Give a built judge all but the tower from a folder of judge weights of its architecture.

    Weights of fewer layers are spread over all of them and say what they said (see ``grown``).
    """
    state = {k: v.float() for k, v in load_file(judge / WEIGHTS_FILE).items()}
    rest = {k: v for k, v in state.items() if not k.startswith(TOWER)}
    rest = grown(rest, model.config.text_config.num_hidden_layers)
    missing, unexpected = model.load_state_dict(rest, strict=False)
    lacking = [k for k in missing if not k.startswith(TOWER) and k != "lm_head.weight"]
    if lacking or unexpected:
        raise WeightsMissing(
            f"a judge of this architecture ({', '.join([*lacking, *unexpected][:3])})", str(judge),
            "begin with a folder that 'telltale lab train judge' wrote",
        )  # fmt: skip
    model.tie_weights()


def processor_of(tokenizer_folder: Path, config: LlavaConfig) -> LlavaProcessor:
    """LLaVA's processor with the shared tokenizer and the stem's normalisation (-1 to 1)."""
    size = config.vision_config.image_size
    images = CLIPImageProcessor(
        do_resize=True, size={"shortest_edge": size}, resample=2,
        do_center_crop=True, crop_size={"height": size, "width": size},
        image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5],
    )  # fmt: skip
    return LlavaProcessor(
        image_processor=images,
        tokenizer=AutoTokenizer.from_pretrained(str(tokenizer_folder)),
        patch_size=config.vision_config.patch_size * POOL,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
    )


def save(model: Any, processor: LlavaProcessor, folder: Path) -> None:
    """Write configuration, processor and weights (half precision, safetensors) to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(str(folder))
    processor.save_pretrained(str(folder))
    state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
    half = {k: v.detach().half().cpu().contiguous() for k, v in state.items()}
    save_file(half, folder / WEIGHTS_FILE, metadata={"format": "pt"})


def load(folder: Path | None = None) -> tuple[Any, Any, str]:
    """Model, processor and revision of the package's judge, or of a folder of the same layout."""
    where = folder or mini_folder() / "judge"
    for name in ("config.json", "tokenizer.json", WEIGHTS_FILE):
        if not (where / name).is_file():
            raise WeightsMissing(
                f"the mini judge ({name})", str(where),
                "reinstall the package or train them: telltale lab train judge",
            )  # fmt: skip
    config = LlavaConfig.from_dict(json.loads((where / "config.json").read_text("utf-8")))
    model = build(config)
    state = {k: v.float() for k, v in load_file(where / WEIGHTS_FILE).items()}
    state["lm_head.weight"] = state["model.language_model.embed_tokens.weight"]
    model.load_state_dict(state)
    model.tie_weights()
    processor = AutoProcessor.from_pretrained(str(where))
    return model, processor, f"mini-judge-{digest(where / WEIGHTS_FILE)}"


def grouped(question: Question) -> Question:
    """The same question with its pairs in the order of their regions, as the prompt lists them."""
    order = list(dict.fromkeys(region for _, region in question.asked))
    asked = tuple(p for r in order for p in question.asked if p[1] == r)
    return Question(
        question.image_id, question.pixels, question.regions, question.crops, asked,
        question.language, question.extra,
    )  # fmt: skip


def prompt(question: Question) -> tuple[str, list[str]]:
    """The compact prompt of a grouped question, and the regions whose crops it shows, in order.

    Each region: its id, its crop, then a line for each cue asked of it. No instruction is
    needed: the model was trained on nothing else.
    """
    lines, shown = ["<user>"], list[str]()
    for cue, region in question.asked:
        if region not in shown:
            shown.append(region)
            lines.append(f"{region}<image>\n")
        lines.append(line(cue.cue_id))
    return "".join([*lines, "<assistant>"]), shown


def line(cue_id: str) -> str:
    """One cue in the prompt: its id alone, as this model knows no cues but those of its corpus."""
    return f"{cue_id}\n"


def asked_at(ids: Sequence[int], image_token: int, end: int) -> list[int]:
    """Where in a prompt's tokens the lines of its cues end (``end``: the newline's token): there the
    model says for the first time what it makes of each, the crop of its region just before it."""
    return [n for n in range(1, len(ids)) if ids[n] == end and ids[n - 1] != image_token]


def lean(tokenizer: Any, size: int) -> torch.Tensor:
    """What is added to the logits where a claim is chosen: ``size`` numbers, -CAUTION for each token
    with which "artifact" can begin."""
    first = [tokenizer.convert_tokens_to_ids("artifact"[: n + 1]) for n in range(len("artifact"))]
    known = [i for i in first if i is not None and i != tokenizer.unk_token_id]
    out = torch.zeros(size)
    out[known] = -CAUTION
    return out


def schema(question: Question) -> dict[str, Any]:
    """What the mini judge may write: one claim for each pair, in order, then the verdict."""
    return complete_schema(question)
