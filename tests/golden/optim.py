#!/usr/bin/env python3
"""Write tests/golden/optim/*.safetensors: what torch.optim does, in float64. Needs PyTorch (Debian: python3-torch).

  /usr/bin/python3 tests/golden/optim.py

An optimizer's file has two parameters, a (3, 4) and b (5), and for each
  NAME.grads    the gradients of 10 updates, first axis
  NAME.values   the parameter before the first update and after each: 11
schedules.safetensors has learning rates: inverse_sqrt for updates 1 to 40 with warmup 10 and peak 0.003; cosine without
warmup for updates 0 to 40 of 40, from 0.003 to a tenth of it.
"""
import pathlib

import torch
from torch import optim

from golden import save

FOLDER = pathlib.Path(__file__).parent / "optim"


def record(name, make, max_norm=None):
    """Runs 10 updates of make(a, b) on random gradients, clipped to max_norm if there is one."""
    torch.manual_seed(1)
    start = {"a": torch.randn(3, 4).double(), "b": torch.randn(5).double()}
    grads = {key: torch.randn(10, *value.shape).double() for key, value in start.items()}
    parameters = {key: value.clone().requires_grad_() for key, value in start.items()}
    values = {key: [value] for key, value in start.items()}
    optimizer = make(*parameters.values())
    for step in range(10):
        for key, parameter in parameters.items():
            parameter.grad = grads[key][step].clone()
        if max_norm:
            torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm)
        optimizer.step()
        for key, parameter in parameters.items():
            values[key].append(parameter.detach().clone())
    save(FOLDER / f"{name}.safetensors", {**{f"{key}.grads": value for key, value in grads.items()},
                                          **{f"{key}.values": torch.stack(value) for key, value in values.items()}})


def groups(a, b):
    return [dict(params=[a], lr=0.01, weight_decay=0.1), dict(params=[b], lr=0.005, weight_decay=0)]


def schedules():
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.003)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda t: min((t + 1) / 10, (10 / (t + 1)) ** 0.5))
    inverse_sqrt = rates(optimizer, scheduler, 40)
    optimizer = optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.003)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.0003)
    save(FOLDER / "schedules.safetensors", dict(inverse_sqrt=inverse_sqrt, cosine=rates(optimizer, scheduler, 41)))


def rates(optimizer, scheduler, count):
    out = []
    for _ in range(count):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(out, dtype=torch.float64)


FOLDER.mkdir(exist_ok=True)
record("sgd", lambda *p: optim.SGD(p, lr=0.1))
record("sgd-decay", lambda *p: optim.SGD(p, lr=0.1, weight_decay=0.1))
record("sgd-momentum", lambda *p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1))
record("sgd-nesterov", lambda *p: optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True))
record("adam", lambda *p: optim.Adam(p, lr=0.01, weight_decay=0.1))
record("adamw", lambda *p: optim.AdamW(groups(*p), betas=(0.9, 0.98), eps=1e-6))
record("adamw-clipped", lambda *p: optim.AdamW(groups(*p)), max_norm=3.0)
schedules()
