#!/usr/bin/env python3
"""Decoding: difftensor and CTranslate2, with the same parameters. Needs PyTorch and CTranslate2 (pip install torch
ctranslate2).

  make bench
  build/translate train --run runs/v --style vaswani --attention softmax ...
  python3 tests/bench/ctranslate2_peer.py --run runs/v --src test.en --beam 5 --length 16 --threads 1

CTranslate2 knows the original Transformer, so the run has that style. It is given the run's parameters, the same token
ids, and as many threads, each with batches of its own; it is run in float32 and int8, by both of its libraries for
products (oneDNN, MKL), in batches of several sizes, and the quickest counts. With --length no word ends a translation:
searches end by different rules, and all have the same to do then. Ours and theirs are run in turn.
"""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

import pytorch_peer as side
from pytorch_peer import HERE, middle, ours, peak_rss, peer, slow, table


def convert(record, folder):
    """Writes CTranslate2's model of the parameters that a record of bench/decode names."""
    import ctranslate2
    import numpy as np
    c = record["model"]
    if (c["style"], c["attention"]) != ("vaswani", "softmax"):
        sys.exit("ctranslate2_peer.py: CTranslate2 knows --style vaswani --attention softmax only")
    state = {name: tensor.numpy() for name, tensor in side.load_safetensors(record["parameters"]).items()}
    spec = ctranslate2.specs.TransformerSpec.from_config(
        (c["encoder_layers"], c["decoder_layers"]), c["heads"], pre_norm=False)

    def linear(to, *names):             # several beside each other are one product
        to.weight = np.concatenate([state[name + ".weight"] for name in names])
        if names[0] + ".bias" in state:
            to.bias = np.concatenate([state[name + ".bias"] for name in names])

    def norm(to, name):
        to.gamma, to.beta = state[name + ".weight"], state[name + ".bias"]

    D = c["d_model"]
    turns = np.arange(1024)[:, None] / 10000 ** (np.arange(0, D, 2) / D)
    sinusoids = np.stack([np.sin(turns), np.cos(turns)], 2).reshape(-1, D).astype(np.float32)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = state["embedding.weight"]
    spec.decoder.projection.weight = state["embedding.weight"]
    for side_name, stack in (("encoder", spec.encoder), ("decoder", spec.decoder)):
        stack.scale_embeddings = True
        stack.position_encodings.encodings = sinusoids
        for i, layer in enumerate(stack.layer):
            at = f"{side_name}.layers.{i}."
            own = at + "self_attn."
            linear(layer.self_attention.linear[0], own + "q_proj", own + "k_proj", own + "v_proj")
            linear(layer.self_attention.linear[1], own + "out_proj")
            norm(layer.self_attention.layer_norm, at + "self_attn_norm")
            if side_name == "decoder":
                cross = at + "cross_attn."
                linear(layer.attention.linear[0], cross + "q_proj")
                linear(layer.attention.linear[1], cross + "k_proj", cross + "v_proj")
                linear(layer.attention.linear[2], cross + "out_proj")
                norm(layer.attention.layer_norm, at + "cross_attn_norm")
            linear(layer.ffn.linear_0, at + "ffn.up_proj")
            linear(layer.ffn.linear_1, at + "ffn.down_proj")
            norm(layer.ffn.layer_norm, at + "ffn_norm")
    words = [f"w{i}" for i in range(c["vocab"])]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.unk_token, spec.config.eos_token = "w3", f"w{side.EOS}"
    spec.config.bos_token = spec.config.decoder_start_token = f"w{side.BOS}"
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.validate()
    spec.optimize()
    os.mkdir(folder)
    spec.save(folder)


def translate(a):
    import ctranslate2
    record = json.loads(pathlib.Path(a.record).read_text())
    model = ctranslate2.Translator(a.folder, device="cpu", compute_type=a.type, inter_threads=a.threads,
                                   intra_threads=1)
    sources = [[f"w{i}" for i in ids] for ids in record["sources"]]
    limits = {}
    if a.length:                        # padding, which no model writes, is the end, and the end a word like others
        limits = dict(min_decoding_length=a.length, max_decoding_length=a.length, end_token=f"w{side.PAD}")
    results = []
    for size in a.sizes:
        times = []
        for _ in range(3 + 1):          # the first warms up
            start = time.perf_counter()
            found = model.translate_batch(sources, beam_size=a.beam, max_batch_size=size, length_penalty=1, **limits)
            times.append(time.perf_counter() - start)
        outputs = [[int(word[1:]) for word in result.hypotheses[0]] for result in found]
        differ = sum(x != y for x, y in zip(outputs, record["outputs"], strict=True))
        results.append(dict(sentences_per_second=len(outputs) / statistics.median(times[1:]), differ=differ,
                            peak_rss_mib=peak_rss()))
    return results


def version(a):
    import ctranslate2
    return ctranslate2.__version__


def compare(a):
    us, theirs, rate = [], {}, "sentences_per_second"
    with tempfile.TemporaryDirectory() as temporary:
        record, a.folder = os.path.join(temporary, "decoded.json"), os.path.join(temporary, "model")
        command = ["decode", "--run", a.run, "--src", a.src, "--sentences", str(a.sentences), "--beam", str(a.beam),
                   "--out", record] + ["--length", str(a.length)] * (a.length > 0)
        hopeless = set()
        for _ in range(a.rounds):
            us.append(ours(a, *command))
            if not os.path.exists(a.folder):
                convert(json.loads(pathlib.Path(record).read_text()), a.folder)
            for type, library in itertools.product(("float32", "int8"), ("oneDNN", "MKL")):
                ways = {size: f"{type}, {library}, batches of {size}" for size in a.sizes}
                sizes = [size for size, name in ways.items() if name not in hopeless]
                if not sizes:
                    continue
                os.environ["CT2_USE_MKL"] = str(int(library == "MKL"))
                results = peer(a, "translate", script=__file__, record=record, type=type, sizes=sizes)
                for size, result in zip(sizes, results, strict=True):
                    print(f"CTranslate2 {ways[size]}: {result}", file=sys.stderr)
                    theirs.setdefault(type, {}).setdefault(ways[size], []).append(result)
            hopeless = set().union(*(slow(ways, rate) for ways in theirs.values()))
    us = middle(us, rate)
    rows = [["difftensor", f"{us[rate]:,.0f}", "", f"{us['peak_rss_mib']:,.0f}", ""]]
    for type, ways in theirs.items():
        ways = {name: middle(results, rate) for name, results in ways.items()}
        best = max(ways.values(), key=lambda result: result[rate])
        rows += [[f"CTranslate2, {name}" + " (best)" * (result is best), f"{result[rate]:,.0f}", result["differ"],
                  f"{result['peak_rss_mib']:,.0f}", f"{us[rate] / result[rate]:.2f}"] for name, result in ways.items()]
    table(a, f"Decoding {us['sentences']:,} sentences, beam {a.beam}, {a.threads} threads" +
          f", {a.length} tokens each" * (a.length > 0),
          ["", "sentences/s", "that differ", "peak RSS, MiB", "difftensor is faster"], rows)


def main():
    if sys.argv[1:2] == ["--worker"]:
        return side.worker(sys.argv[2], dict(translate=translate, version=version))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", required=True, help="a run of build/translate, --style vaswani --attention softmax")
    ap.add_argument("--src", required=True, help="sentences to translate")
    ap.add_argument("--sentences", type=int, default=1000, help="the first so many [%(default)s]")
    ap.add_argument("--beam", type=int, default=5)
    ap.add_argument("--length", type=int, default=0, help="translations of so many tokens [as the model ends them]")
    ap.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], help="CTranslate2's batches")
    ap.add_argument("--threads", type=int, default=1)
    ap.add_argument("--rounds", type=int, default=5,
                    help="in turn; medians are told, and a way that is far behind in a round has no other "
                         "[%(default)s]")
    ap.add_argument("--build", default=str(HERE.parent.parent / "build"), help="where bench/ with our programs is")
    ap.add_argument("--markdown", action="store_true", help="a table for a README")
    a = ap.parse_args()
    compare(a)
    print(f"\nCTranslate2 {peer(a, 'version', script=__file__)}; {a.machine['openblas']}; {a.machine['compiler']}; "
          f"{a.machine['cpu']}")


if __name__ == "__main__":
    main()
