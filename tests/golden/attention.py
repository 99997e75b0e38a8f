#!/usr/bin/env python3
"""Write golden files of others' differential attention layers: their rules, head by head, and converted weights.

  attention.py OUT_DIR          needs PyTorch
  attention.py --transformers   compares the rule of DiffLlama with the layer of Hugging Face's transformers, if installed

The rules are written here anew, from what convert.py says of the sources, as plainly as can be: a loop over heads. A file
holds, in float64, x (sentences laid end to end), their lengths, what the source's rule computes of it, causally, and the
weights for nn::MultiheadDiffAttention that convert.py makes of the source's: param.NAME.
"""
import math, sys
import torch
from convert import convert
from golden import save

WIDTH, DEPTH, LENGTHS = 32, 2, [7, 1, 12]
LAMBDA_INIT = 0.8 - 0.6 * math.exp(-0.3 * DEPTH)


def angles(T, d):
    return torch.outer(torch.arange(T).double(), 10000.0 ** (-torch.arange(0, d, 2).double() / d))


def rotate(x, a, b):
    """x (T, d) with the features a[j] and b[j] rotated together by the j-th angle of each position."""
    angle, out = angles(*x.shape), x.clone()
    out[:, a] = x[:, a] * angle.cos() - x[:, b] * angle.sin()
    out[:, b] = x[:, a] * angle.sin() + x[:, b] * angle.cos()
    return out


def head(w, q1, k1, q2, k2, v):
    """(A1 - lambda A2) V, normalised without a gain, times 1 - lambda_init."""
    future = torch.ones(len(q1), len(q1), dtype=torch.bool).triu(1)
    weights = lambda q, k: (q @ k.T / math.sqrt(q.size(1))).masked_fill(future, -math.inf).softmax(1)
    lam = ((w["lambda_q1"] @ w["lambda_k1"]).exp() - (w["lambda_q2"] @ w["lambda_k2"]).exp() + LAMBDA_INIT)
    o = (weights(q1, k1) - lam * weights(q2, k2)) @ v
    return o / (o.pow(2).mean(1, keepdim=True) + 1e-5).sqrt() * (1 - LAMBDA_INIT)


def diffllama(x, w, H, K):
    d, group = WIDTH // H, H // K
    first, second = torch.arange(d // 2), torch.arange(d // 2) + d // 2
    q = [rotate(t, first, second) for t in (x @ w["q_proj.weight"].T).split(d, 1)]
    k = [rotate(t, first, second) for t in (x @ w["k_proj.weight"].T).split(d, 1)]
    v = (x @ w["v_proj.weight"].T).split(d, 1)
    heads = []
    for i in range(H // 2):
        j = i + H // 2
        heads.append(head(w, q[i], k[i // group], q[j], k[j // group], torch.cat([v[i // group], v[j // group]], 1)))
    return torch.cat(heads, 1) @ w["o_proj.weight"].T


def unilm(x, w, H, K):
    d, group = WIDTH // H // 2, H // K
    even, odd = torch.arange(0, d, 2), torch.arange(1, d, 2)
    q = [rotate(t, even, odd) for t in (x @ w["q_proj.weight"].T).split(d, 1)]
    k = [rotate(t, even, odd) for t in (x @ w["k_proj.weight"].T).split(d, 1)]
    v = (x @ w["v_proj.weight"].T).split(2 * d, 1)
    heads = []
    for i in range(H):
        o = head(w, q[2 * i], k[2 * i // group], q[2 * i + 1], k[(2 * i + 1) // group], v[i // group])
        heads.append(o * w["subln.weight"])
    return torch.cat(heads, 1) @ w["out_proj.weight"].T


def make(path, rule, source, heads, H, K, names):
    """heads: how many output heads it has; names: of the source's weights, with their shapes."""
    w = {name: torch.randn(shape).double() * (0.3 if "weight" in name else 0.5) for name, shape in names.items()}
    x = torch.randn(sum(LENGTHS), WIDTH).double()
    out = {"x": x, "lengths": torch.tensor(LENGTHS), "out": torch.cat([rule(part, w, H, K) for part in x.split(LENGTHS)])}
    out.update({f"param.{n}": t.contiguous() for n, t in convert(w, source, H, K).items()})
    save(path, out, dict(width=WIDTH, depth=DEPTH, heads=heads, source=source))


def compare_with_transformers():
    """Theirs rounds softmax and lambda to float, also where all else is double."""
    import transformers
    from transformers.models.diffllama.modeling_diffllama import DiffLlamaAttention
    for K in (8, 4, 2):
        torch.manual_seed(K)
        config = transformers.DiffLlamaConfig(hidden_size=WIDTH, num_attention_heads=8, num_key_value_heads=K,
                                              lambda_std_dev=0.5, attn_implementation="eager")
        layer = DiffLlamaAttention(config, DEPTH).double()
        x, T = torch.randn(1, 9, WIDTH).double(), 9
        angle = angles(T, WIDTH // 8).repeat(1, 2)[None]
        future = torch.full((1, 1, T, T), -1e30).double().triu(1)
        theirs = layer(x, position_embeddings=(angle.cos(), angle.sin()), attention_mask=future)[0]
        ours = diffllama(x[0], dict(layer.named_parameters()), 8, K)
        error = ((ours - theirs[0]).abs().max() / theirs.abs().max()).item()
        print(f"transformers {transformers.__version__}, {K} of 8 heads have keys: relative difference {error:.0e}")


def main():
    if sys.argv[1] == "--transformers":
        return compare_with_transformers()
    folder = sys.argv[1]
    for seed, K in enumerate((8, 4, 2), 51):               # 8 query heads of DiffLlama, with 8, 4 or 2 of keys
        torch.manual_seed(seed)
        d, square = WIDTH // 8, (WIDTH, WIDTH)
        lambdas = {f"lambda_{n}": (d,) for n in ("q1", "k1", "q2", "k2")}
        make(f"{folder}/diffllama-{K}.safetensors", diffllama, "diffllama", 4, 8, K,
             {"q_proj.weight": square, "k_proj.weight": (K * d, WIDTH), "v_proj.weight": (K * d, WIDTH),
              "o_proj.weight": square, **lambdas})
    for seed, K in enumerate((4, 2), 61):                  # 4 output heads of Microsoft's, with 4 or 2 of values
        torch.manual_seed(seed)
        make(f"{folder}/unilm-{K}.safetensors", unilm, "unilm", 4, 4, K,
             {"q_proj.weight": square, "k_proj.weight": (2 * K * d, WIDTH), "v_proj.weight": (2 * K * d, WIDTH),
              "out_proj.weight": square, "subln.weight": (2 * d,), **lambdas})


if __name__ == "__main__":
    main()
