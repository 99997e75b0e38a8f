#!/usr/bin/env python3
"""Weights that were trained here go into PyTorch's model by name, and PyTorch's come back. Needs PyTorch.

  exchange.py RUN          RUN: the folder of a training, of build/translate or build/language_model

Writes into RUN:
  there.safetensors        a golden file (see golden.py) of the weights in RUN/model.safetensors: PyTorch's logits, loss
                           and gradients for them, and ten updates
  back.safetensors         the same for the weights that these ten updates made: PyTorch's own
  back/                    a run folder with the weights of RUN, read and written again by PyTorch
`make golden FILES="RUN/there.safetensors RUN/back.safetensors"` compares what the models here compute of them.
"""
import json, os, shutil, sys
import torch
from golden import load, pack, pad, save, train, write
from model import BOS, EOS, Config, LanguageModel, Transformer

run = sys.argv[1]
state, metadata = load(f"{run}/model.safetensors")
config = json.load(open(f"{run}/config.json"))
settings = {k: config[k] for k in ("d_model", "heads", "ff", "attention", "style")}
settings["vocab"] = len(state["embedding.weight"])
translates = "task" in config
if translates:
    settings.update(encoder_layers=config["layers"], decoder_layers=config["layers"])
else:
    settings.update(layers=config["layers"], tied="output.weight" not in state,
                    head_norm={"yes": True, "no": False}.get(config["head_norm"]),
                    lambda_init=None if config["lambda_init"] < 0 else config["lambda_init"])  # -1: as the depth gives
c = Config(**settings)
net = (Transformer if translates else LanguageModel)(c).double()
net.load_state_dict(state)                 # strict: the names and shapes are the same, without exception

os.makedirs(f"{run}/back", exist_ok=True)
metadata.pop("crc32", None)                # of the file that it was in
save(f"{run}/back/model.safetensors", {n: p.float() for n, p in net.state_dict().items()}, metadata)
for name in ("config.json", "spm.model"):
    if os.path.exists(f"{run}/{name}"):
        shutil.copy(f"{run}/{name}", f"{run}/back")

torch.manual_seed(1)
sentences = lambda lengths: [[BOS] + torch.randint(4, c.vocab, (n - 2,)).tolist() + [EOS] for n in lengths]
lengths = [9, 20, 5]
for name in ("there", "back"):
    T = sentences(lengths)
    targets, given = pad(T)[:, 1:], pad(T)[:, :-1]
    if translates:
        S = [s[1:] for s in sentences([12, 7, 30])]
        out = {"in.src": torch.tensor(sum(S, [])), "in.src_lengths": torch.tensor([len(s) for s in S]),
               "in.tgt": torch.tensor(sum(T, [])), "in.tgt_lengths": torch.tensor(lengths),
               "out.encoder": pack(net.encode(pad(S)).detach(), [len(s) for s in S])}
        forward = lambda: net(pad(S), given)
    else:
        out = {"in.ids": torch.tensor(sum(T, [])), "in.lengths": torch.tensor(lengths)}
        forward = lambda: net(given)
    train(net, forward, targets, [n - 1 for n in lengths], out)
    write(f"{run}/{name}.safetensors", out, c, settings)
