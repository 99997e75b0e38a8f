#!/usr/bin/env python3
"""Write tests/golden/ops/ops.safetensors: what torch's functions give, and their gradients, in float64. Needs PyTorch.

  python3 tests/golden/ops.py

For each case, by its name here and in tests/test_ops.cpp:
  NAME.x0, NAME.x1, ...  inputs
  NAME.y                 the result
  NAME.dy                what dL/dy was taken to be, if the result has a gradient
  NAME.dx0, ...          dL/dx
"""
import pathlib

import torch
import torch.nn.functional as F

from golden import save

ONE, TWO = [(3, 4)], [(3, 4), (4,)]
def zeroed(x, columns):
    """x, but 0 in these columns, where it has a gradient all the same."""
    return x - x.detach() * torch.tensor(columns, dtype=torch.float64)


INDEX = torch.tensor([[2, 0, 1, 1], [0, 0, 2, 1]])
CASES = {  # name: (function, shapes of its inputs)
    "abs": (torch.abs, ONE), "sin": (torch.sin, ONE), "cos": (torch.cos, ONE), "expm1": (torch.expm1, ONE),
    "sign": (torch.sign, ONE), "floor": (torch.floor, ONE), "clamp": (lambda x: x.clamp(-0.5, 1), ONE),
    "softplus": (F.softplus, ONE), "leaky_relu": (lambda x: F.leaky_relu(x, 0.1), ONE),
    "elu": (lambda x: F.elu(x, 1.5), ONE), "minimum": (torch.minimum, TWO),
    "eq": (lambda x: (x == x.flip(0)).double(), ONE), "ne": (lambda x: (x != x.flip(0)).double(), ONE),
    "lt": (lambda x, y: (x < y).double(), TWO), "le": (lambda x: (x <= x.flip(0)).double(), ONE),
    "gt": (lambda x, y: (x > y).double(), TWO), "ge": (lambda x: (x >= x.flip(0)).double(), ONE),
    "min": (lambda x: x.amin(1), ONE), "prod": (lambda x: x.prod(0), ONE),
    "prod of a zero": (lambda x: zeroed(x, [0, 1, 0, 0]).prod(1, keepdim=True), ONE),
    "prod of zeros": (lambda x: zeroed(x, [0, 1, 0, 1]).prod(1), ONE),
    "var": (lambda x: x.var(), ONE), "var biased": (lambda x: x.var((0, 2), correction=0, keepdim=True), [(3, 4, 2)]),
    "std": (lambda x: x.std(1), ONE), "norm": (lambda x: x.norm(dim=0), ONE),
    "norm at zero": (lambda x: zeroed(x, [0, 1, 0, 0]).norm(dim=0), ONE),
    "cumsum": (lambda x: x.cumsum(1), [(3, 4, 2)]), "logsumexp": (lambda x: x.logsumexp(1), [(3, 4, 2)]),
    "logsumexp keepdim": (lambda x: x.logsumexp(-1, keepdim=True), ONE),
    "softmax axis": (lambda x: x.softmax(0), ONE), "log_softmax axis": (lambda x: x.log_softmax(1), [(3, 4, 2)]),
    "matrix times vector": (torch.matmul, [(3, 4), (4,)]), "vector times matrix": (torch.matmul, [(3,), (3, 4)]),
    "vector times vector": (torch.matmul, [(4,), (4,)]), "matrices times vector": (torch.matmul, [(2, 3, 4), (4,)]),
    "squeeze": (lambda x: x.squeeze(1), [(3, 1, 4)]), "unsqueeze": (lambda x: x.unsqueeze(-1), ONE),
    "expand": (lambda x: x.expand(2, 3, 4), [(3, 1)]), "split": (lambda x: x.split(3, 1)[1], [(2, 7)]),
    "chunk": (lambda x: x.chunk(3, 1)[2], [(2, 7)]), "unbind": (lambda x: x.unbind(1)[2], [(2, 4, 3)]),
    "flip": (lambda x: x.flip((0, 2)), [(2, 4, 3)]), "tril": (lambda x: x.tril(1), [(2, 3, 4)]),
    "triu": (lambda x: x.triu(-1), [(4, 3)]), "pad": (lambda x: F.pad(x, (1, 2, 0, 3), value=0.5), [(2, 3, 4)]),
    "argmax": (lambda x: x.argmax(1).double(), [(3, 4, 2)]), "topk": (lambda x: x.topk(2, 1).values, [(3, 4, 2)]),
    "topk places": (lambda x: x.topk(2, 0).indices.double(), ONE), "sort": (lambda x: x.sort(0).values, ONE),
    "sort descending places": (lambda x: x.sort(1, descending=True).indices.double(), ONE),
    "gather": (lambda x: x.gather(0, INDEX), ONE), "index_select": (lambda x: x[:, [3, 0, 3]], [(2, 4, 3)]),
    "scatter_add": (lambda x, y: x.scatter_add(0, INDEX, y), [(3, 4), (2, 4)]),
    "one_hot": (lambda x: F.one_hot(INDEX, 4).double() + 0 * x.sum(), ONE),
    "unfold": (lambda x: F.unfold(x, (2, 3), stride=(2, 1), dilation=(1, 2)), [(2, 3, 5, 7)]),
    "conv2d": (F.conv2d, [(2, 3, 5, 7), (4, 3, 2, 3), (4,)]),
    "conv2d strided": (lambda x, w: F.conv2d(x, w, stride=2, padding=1, dilation=2), [(2, 3, 6, 7), (4, 3, 2, 3)]),
    "conv2d groups": (lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=2), [(2, 4, 3, 4), (6, 2, 3, 3), (6,)]),
    "conv1d": (lambda x, w, b: F.conv1d(x, w, b, stride=2, padding=2), [(2, 3, 8), (4, 3, 3), (4,)]),
    "conv1d causal depthwise": (lambda x, w: F.conv1d(F.pad(x, (2, 0)), w, groups=3), [(2, 3, 8), (3, 1, 3)]),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), [(2, 3, 5, 4)]),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, padding=1), [(2, 3, 5, 7)]),
    "max_pool1d": (lambda x: F.max_pool1d(x, 3, 1, padding=1), [(2, 3, 5)]),
    "avg_pool1d": (lambda x: F.avg_pool1d(x, 2), [(2, 3, 5)]),
    "arange": (lambda x: torch.arange(-1, 2.1, 0.7, dtype=torch.float64) + 0 * x.sum(), ONE),
    "eye": (lambda x: torch.eye(3).double() + 0 * x.sum(), ONE),
}


def main():
    torch.manual_seed(1)
    tensors = {}
    for name, (f, shapes) in CASES.items():
        x = [torch.randn(shape).double() for shape in shapes]
        if len(shapes) == 1 and name in ("eq", "ne", "le", "ge"):
            x[0][2] = x[0][0]  # equals, to be found
        for leaf in x:
            leaf.requires_grad_()
        y = f(*x)
        tensors.update({f"{name}.x{i}": leaf.detach() for i, leaf in enumerate(x)})
        tensors[f"{name}.y"] = y.detach()
        if y.requires_grad:
            dy = torch.randn(y.shape).double()
            y.backward(dy)
            tensors[f"{name}.dy"] = dy
            tensors.update({f"{name}.dx{i}": leaf.grad for i, leaf in enumerate(x)})
    path = pathlib.Path(__file__).parent / "ops" / "ops.safetensors"
    path.parent.mkdir(exist_ok=True)
    save(path, tensors)


if __name__ == "__main__":
    main()
