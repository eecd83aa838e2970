# SPDX-License-Identifier: Apache-2.0
"""Turn a Llama-shaped GGUF file into the directory a hub holds: `model_convert.py FILE.gguf DIRECTORY`.

It runs by itself with gguf and numpy on its path and is not part of the imported package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3


class Source:
    """An open GGUF file with short names for what is read from it."""

    def __init__(self, path: Path) -> None:
        self.reader = GGUFReader(path)

    def meta(self, key: str) -> Any:
        """Return a metadata value of the model or, with a dot, of anything."""
        return self.reader.fields[key if key.startswith("tokenizer.") else f"llama.{key}"].contents()

    def tensors(self) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """Yield every tensor under the name that transformers gives it."""
        heads = {"attn_q": self.meta("attention.head_count"), "attn_k": self.meta("attention.head_count_kv")}
        for tensor in self.reader.tensors:
            *block, kind, suffix = tensor.name.split(".")
            weights = dequantize(tensor.data, tensor.tensor_type)
            if kind in heads:
                weights = half_rotation(weights, heads[kind])
            prefix = f"model.layers.{block[1]}." if block else ""
            yield f"{prefix}{NAMES[kind]}.{suffix}", weights.astype(np.float16)


def half_rotation(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Reorder rows from llama.cpp's interleaved rotary pairs to the two halves that transformers uses."""
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
    """Write tensors in the safetensors format: a length, a JSON header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, tensor in tensors.items():
        span = [position, position + tensor.nbytes]
        header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": span}
        position = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(np.ascontiguousarray(tensor).tobytes())


def config(source: Source, tensors: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Describe the architecture as transformers does."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "torch_dtype": "float16",
        "vocab_size": source.meta("vocab_size"),
        "hidden_size": source.meta("embedding_length"),
        "intermediate_size": source.meta("feed_forward_length"),
        "num_hidden_layers": source.meta("block_count"),
        "num_attention_heads": source.meta("attention.head_count"),
        "num_key_value_heads": source.meta("attention.head_count_kv"),
        "head_dim": source.meta("rope.dimension_count"),
        "max_position_embeddings": source.meta("context_length"),
        "rope_theta": source.meta("rope.freq_base"),
        "rms_norm_eps": round(source.meta("attention.layer_norm_rms_epsilon"), 9),
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": source.meta("tokenizer.ggml.bos_token_id"),
        "eos_token_id": source.meta("tokenizer.ggml.eos_token_id"),
        "pad_token_id": source.meta("tokenizer.ggml.padding_token_id"),
    }


def tokenizer(source: Source) -> dict[str, Any]:
    """Rebuild tokenizer.json: byte-level pairs with single digits, as llama.cpp's `smollm` type says."""
    tokens = source.meta("tokenizer.ggml.tokens")
    kinds = source.meta("tokenizer.ggml.token_type")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, **flags}
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == CONTROL_TOKEN
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in source.meta("tokenizer.ggml.merges")],
        },
    }


def tokenizer_config(source: Source) -> dict[str, Any]:
    """List the special tokens and the chat template."""
    tokens = source.meta("tokenizer.ggml.tokens")
    special = {
        f"{name}_token": tokens[source.meta(f"tokenizer.ggml.{key}_token_id")]
        for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": source.meta("tokenizer.chat_template"),
        "model_max_length": source.meta("context_length"),
        "clean_up_tokenization_spaces": False,
        **special,
    }


def generation_config(source: Source) -> dict[str, Any]:
    """Return the tokens that begin and end an answer."""
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    return {name: source.meta(f"tokenizer.ggml.{key}_token_id") for name, key in names.items()}


def main() -> None:
    """Convert one file."""
    source, target = Source(Path(sys.argv[1])), Path(sys.argv[2])
    target.mkdir(parents=True)
    tensors = dict(sorted(source.tensors()))
    write_safetensors(target / "model.safetensors", tensors)
    for name, content in {
        "config.json": config(source, tensors),
        "generation_config.json": generation_config(source),
        "tokenizer.json": tokenizer(source),
        "tokenizer_config.json": tokenizer_config(source),
    }.items():
        (target / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
