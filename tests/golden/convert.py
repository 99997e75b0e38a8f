#!/usr/bin/env python3
"""Differential attention layers of others, with the names and the order of heads that nn::MultiheadDiffAttention has.

  convert.py diffllama|unilm IN.safetensors OUT.safetensors --heads H [--key-value-heads K]

Converts every attention layer in the file, and leaves all other tensors as they are. H and K count as the source does:
num_attention_heads and num_key_value_heads of DiffLlama, num_heads and num_kv_heads of Microsoft's layer. Needs PyTorch.

Here and there, D is the width and d that of a query head. What is here: output head i has the query heads 2i and 2i + 1,
with key heads of the same numbers, and value head i, 2d wide; rotary pairs are features 2j and 2j + 1; every head has
keys and values of its own; one gain for the head norm. What differs:

  diffllama  Hugging Face transformers, models/diffllama/modeling_diffllama.py, class DiffLlamaAttention.
             H counts query heads. Output head i has the query heads i and i + H/2, and as its values theirs, side by
             side. Rotary pairs are features j and j + d/2. The head norm has no gain. `o_proj` is our `out_proj`.
             K keys and values may serve H heads: head i takes i // (H/K). rms_norm_eps must be 1e-5.
  unilm      microsoft/unilm, Diff-Transformer/multihead_diffattn.py, class MultiheadDiffAttn.
             H counts output heads. Heads, rotary pairs, gain and names are as here. 2K key heads and K value heads may
             serve 2H and H: query head i takes key head i // (H/K), output head i the value head i // (H/K). Its angles
             come from the caller; here they are position * 10000^(-2j/d).
"""
import argparse
import torch


def rows(weight, heads, width):
    """The rows of `weight`, `width` for each head, of these heads in this order."""
    return weight.view(-1, width, weight.size(1))[heads].reshape(-1, weight.size(1))


def from_diffllama(layer, H, K):
    d, each = layer["q_proj.weight"].size(0) // H, H // K
    pairs = torch.tensor([i + half for i in range(H // 2) for half in (0, H // 2)])    # 0, H/2, 1, H/2 + 1, ...
    adjacent = torch.arange(d).view(2, d // 2).T.reshape(-1)                           # 0, d/2, 1, d/2 + 1, ...
    turn = lambda weight: weight.view(H, d, -1)[:, adjacent].reshape(H * d, -1)
    out = {n: t for n, t in layer.items() if n.startswith("lambda_")}
    out["q_proj.weight"] = turn(rows(layer["q_proj.weight"], pairs, d))
    out["k_proj.weight"] = turn(rows(layer["k_proj.weight"], pairs // each, d))
    out["v_proj.weight"] = rows(layer["v_proj.weight"], pairs // each, d)
    out["out_proj.weight"] = layer["o_proj.weight"]
    out["subln.weight"] = torch.ones(2 * d, dtype=layer["lambda_q1"].dtype)
    return out


def from_unilm(layer, H, K):
    d, each = layer["q_proj.weight"].size(0) // H // 2, H // K
    out = dict(layer)
    out["k_proj.weight"] = rows(layer["k_proj.weight"], torch.arange(2 * H) // each, d)
    out["v_proj.weight"] = rows(layer["v_proj.weight"], torch.arange(H) // each, 2 * d)
    return out


SOURCES = {"diffllama": from_diffllama, "unilm": from_unilm}


def convert(state, source, H, K):
    """A state dict, whole or of one layer, with every attention layer in it converted."""
    out = dict(state)
    for path in [n[:-len("lambda_q1")] for n in state if n.endswith("lambda_q1")]:
        layer = {n[len(path):]: out.pop(n) for n in state if n.startswith(path)}
        out.update({path + n: t for n, t in SOURCES[source](layer, H, K).items()})
    return out


if __name__ == "__main__":
    from golden import load, save
    p = argparse.ArgumentParser()
    p.add_argument("source", choices=SOURCES)
    p.add_argument("input")
    p.add_argument("output")
    p.add_argument("--heads", type=int, required=True)
    p.add_argument("--key-value-heads", type=int)
    a = p.parse_args()
    tensors, metadata = load(a.input)
    metadata.pop("crc32", None)
    save(a.output, convert(tensors, a.source, a.heads, a.key_value_heads or a.heads), metadata)
