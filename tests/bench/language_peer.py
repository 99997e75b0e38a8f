#!/usr/bin/env python3
"""Training a language model: difftensor, nanoGPT's model and our own architecture in PyTorch. Needs PyTorch (pip install
torch).

  make bench
  python3 tests/bench/language_peer.py --text FILE [--attention diff] [--d-model 256] [--markdown]

All learn the bytes of the text, in float32, on the same contexts in the same order, with the same clipping and AdamW, on
as many threads. Sizes are the same: layers, width, heads, context, batch. nanoGPT's feed-forward network has two
matrices of 4 x width; ours has three of --ff, by default 8/3 x width: as many parameters. Ours and our architecture in
PyTorch (tests/golden/model.py) start from the same parameters, so that their losses must agree. PyTorch is run as
installed and with malloc tuned, each of ours between; the best of each counts.
"""
import argparse
import itertools
import os
import pathlib
import sys
import tempfile
import time

import pytorch_peer as side
from pytorch_peer import HERE, middle, ours, peak_rss, peer, table


def nano_gpt(a):
    """The model of nanoGPT (github.com/karpathy/nanoGPT), which is GPT-2's: learned positions, LayerNorm before each
    sublayer, GELU, output tied to the embedding; without biases, as its train.py has it."""
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    D = a.d_model

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(D, bias=False), nn.LayerNorm(D, bias=False)
            self.qkv, self.out = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
            self.up, self.down = nn.Linear(D, 4 * D, bias=False), nn.Linear(4 * D, D, bias=False)

        def forward(self, x):
            B, T, _ = x.shape
            q, k, v = (t.view(B, T, a.heads, -1).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(D, 2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
            return x + self.down(F.gelu(self.up(self.norm2(x))))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(256, D), nn.Embedding(a.context, D)
            self.blocks = nn.Sequential(*(Block() for _ in range(a.layers)))
            self.norm = nn.LayerNorm(D, bias=False)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.normal_(p, std=0.02)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions(torch.arange(ids.size(1)))
            return self.norm(self.blocks(x)) @ self.tokens.weight.T

    torch.manual_seed(0)
    return GPT()


def same_architecture(a):
    import torch
    from model import Config, LanguageModel
    torch.manual_seed(0)
    return LanguageModel(Config(vocab=256, d_model=a.d_model, layers=a.layers, ff=a.ff, attention=a.attention,
                                heads=a.heads // 2 if a.attention == "diff" else a.heads, impl=a.impl))


def torch_train(a):
    import torch
    import torch.nn.functional as F
    text = torch.frombuffer(bytearray(pathlib.Path(a.text).read_bytes()), dtype=torch.uint8).long()
    model = nano_gpt(a) if a.impl == "nanoGPT" else same_architecture(a)
    if a.init:                          # only writes it, for ours to start from the same numbers
        side.save_safetensors(a.init, dict(model.named_parameters()))
        return {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    for step in range(a.warmup + a.steps):
        if step == a.warmup:
            start = time.perf_counter()
        begin = (step * a.batch + torch.arange(a.batch)) * 7919 % (len(text) - a.context)
        at = begin[:, None] + torch.arange(a.context)
        loss = F.cross_entropy(model(text[at]).flatten(0, 1), text[at + 1].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return dict(tokens_per_second=a.steps * a.batch * a.context / (time.perf_counter() - start), loss=loss.item(),
                peak_rss_mib=peak_rss(), params=sum(p.numel() for p in model.parameters()))


def compare(a):
    impls = ["nanoGPT", "naive", "sdpa2"] + ["sdpa4"] * (a.attention == "diff")
    us, theirs, rate = [], {}, "tokens_per_second"
    with tempfile.TemporaryDirectory() as folder:
        init = os.path.join(folder, "init.safetensors")
        peer(a, "train", script=__file__, init=init)
        sizes = ("text", "attention", "layers", "d_model", "heads", "ff", "context", "batch", "steps", "warmup")
        command = ["train_language_model", "--init", init]
        for name in sizes:
            command += ["--" + name.replace("_", "-"), str(getattr(a, name))]
        for _, impl, tuned in itertools.product(range(a.rounds), impls, (False, True)):
            us.append(ours(a, *command))
            name = ("PyTorch, " if impl == "nanoGPT" else "our architecture in PyTorch, ") + impl + \
                ", malloc tuned" * tuned
            result = peer(a, "train", tuned, script=__file__, impl=impl)
            print(f"{name}: {result}", file=sys.stderr)
            theirs.setdefault(name, []).append(result)
    us, theirs = middle(us, rate), {name: middle(results, rate) for name, results in theirs.items()}
    rows = [[name, f"{r['params']:,}", f"{r['tokens_per_second']:,.0f}", f"{r['peak_rss_mib']:,.0f}",
             f"{r['loss']:.4f}", f"{us['tokens_per_second'] / r['tokens_per_second']:.2f}"]
            for name, r in {"difftensor": us, **theirs}.items()]
    table(a, f"Training a language model, {a.attention}: {a.layers} layers, {a.d_model} wide, {a.batch} contexts of "
          f"{a.context} bytes, {a.threads} threads",
          ["", "parameters", "tokens/s", "peak RSS, MiB", "last loss", "difftensor is faster"], rows)


def main():
    if sys.argv[1:2] == ["--worker"]:
        return side.worker(sys.argv[2], dict(train=torch_train))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--text", required=True, help="a file to learn from")
    ap.add_argument("--attention", default="softmax", choices=["softmax", "diff", "diff-v2"], help="of ours")
    ap.add_argument("--layers", type=int, default=4)
    ap.add_argument("--d-model", type=int, default=128)
    ap.add_argument("--heads", type=int, default=4, help="maps; diff has half as many heads, of two maps each")
    ap.add_argument("--ff", type=int, help="[8/3 x width, rounded to a multiple of 8]")
    ap.add_argument("--context", type=int, default=256)
    ap.add_argument("--batch", type=int, default=16, help="contexts of an update")
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--rounds", type=int, default=3, help="all of it so often; the median counts [%(default)s]")
    ap.add_argument("--steps", type=int, default=30)
    ap.add_argument("--warmup", type=int, default=5)
    ap.add_argument("--build", default=str(HERE.parent.parent / "build"), help="where bench/ with our programs is")
    ap.add_argument("--markdown", action="store_true", help="tables for a README")
    a = ap.parse_args()
    a.ff = a.ff or 8 * round(a.d_model / 3)
    a.impl, a.init = "naive", None
    compare(a)
    print(f"\nPyTorch {peer(a, 'version')}; {a.machine['openblas']}; {a.machine['compiler']}; {a.machine['cpu']}")


if __name__ == "__main__":
    main()
