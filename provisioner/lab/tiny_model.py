"""A real model small enough for a test: two llama layers of random weights over single bytes.

It answers nonsense, but every step of serving it is real. Needs the `gguf` package.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from provisioner.lab import packing
from provisioner.lab.machine import LabError

NAME = "library/tiny"
TAG = "latest"
LAYERS = 2
WIDTH = 64
FEED_FORWARD = 128
HEADS = 4
CONTEXT = 256
_SPECIAL = ("<unk>", "<s>", "</s>")
_SEED = 9


def publish(folder: Path) -> str:
    """Write the model into `folder` as a registry serves it over plain HTTP; return its digest.

    A static server of that folder at HOST:PORT makes `ollama pull HOST:PORT/library/tiny` work.
    """
    repository = folder / "v2" / NAME
    gguf_file = repository / "blobs" / ".model.part"
    gguf_file.parent.mkdir(parents=True, exist_ok=True)
    _write_gguf(gguf_file)
    model = _blob(repository, gguf_file.read_bytes(), "application/vnd.ollama.image.model")
    gguf_file.unlink()
    config: dict[str, Any] = {
        "model_format": "gguf",
        "model_family": "llama",
        "model_families": ["llama"],
        "model_type": "0.1M",
        "file_type": "F32",
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [model["digest"]]},
    }
    kind = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": _blob(repository, json.dumps(config).encode(), kind),
        "layers": [model],
    }
    # as Ollama itself writes it down, whose digest of it is that of its own copy
    text = json.dumps(manifest, separators=(",", ":"))
    packing.place(repository / "manifests" / TAG, text.encode())
    return str(model["digest"])


def _blob(repository: Path, data: bytes, media_type: str) -> dict[str, str | int]:
    """Place one blob under its digest, and describe it as a manifest does."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    packing.place(repository / "blobs" / digest, data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _write_gguf(path: Path) -> None:
    try:
        import gguf
        import numpy
    except ImportError:
        raise LabError("the tiny model needs the gguf package", "pip install gguf") from None

    random = numpy.random.default_rng(_SEED)

    def weights(*shape: int) -> Any:
        return random.normal(0, 0.02, shape).astype(numpy.float32)

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    vocabulary = _add_vocabulary(writer, gguf)
    ones = numpy.ones(WIDTH, dtype=numpy.float32)
    writer.add_tensor("token_embd.weight", weights(vocabulary, WIDTH))
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", weights(vocabulary, WIDTH))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(WIDTH, WIDTH))
        for name in ("ffn_gate", "ffn_up"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", weights(FEED_FORWARD, WIDTH))
        writer.add_tensor(f"blk.{layer}.ffn_down.weight", weights(WIDTH, FEED_FORWARD))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, gguf: Any) -> int:
    """Three special tokens and one for each byte; returns how many."""
    types = gguf.TokenType
    tokens = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [types.UNKNOWN, types.CONTROL, types.CONTROL, *[types.BYTE] * 256]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return len(tokens)
