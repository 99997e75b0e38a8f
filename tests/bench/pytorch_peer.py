#!/usr/bin/env python3
"""difftensor and PyTorch side by side: training, single operations, decoding. Needs PyTorch (pip install torch).

  make bench
  python3 tests/bench/pytorch_peer.py --ids-src train.en.ids.gz --ids-tgt train.de.ids.gz [--markdown]
  python3 tests/bench/pytorch_peer.py --only ops softmax attention/4096
  python3 tests/bench/pytorch_peer.py --only decode --run runs/mine --src test.en

The ids are token ids, a sentence a line, plain or .gz. Ours are the programs in build/bench. PyTorch runs
tests/golden/model.py in processes of their own, float32, on as many threads. Each measurement is made in several ways,
of which the quickest counts (and of the peak memories the least):
  training    explicit maps (naive); two scaled_dot_product_attention calls a layer (sdpa2); four with v halved, which
              take its flash path (sdpa4); with --compile, torch.compile of these
  operations  likewise, where there are several ways
  decoding    batches of several sizes
all of it as installed and with MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_=100000000000, without which glibc returns
memory to the system and faults it in again. Training starts from the same parameters, so the losses must agree, and
decoding must give the same sentences.
"""
import argparse
import gzip
import itertools
import json
import math
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "golden"))
PRESETS = dict(tiny=dict(d_model=128, encoder_layers=4, decoder_layers=4, heads=2, ff=256),
               small=dict(d_model=256, encoder_layers=3, decoder_layers=3, heads=4, ff=704))
MALLOC = dict(MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="100000000000")
PAD, BOS, EOS = 0, 1, 2


# --- Files ------------------------------------------------------------------------------------------------------------

def read_ids(path):
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
        return [list(map(int, line.split())) for line in file]


def load_safetensors(path):
    import torch
    raw = pathlib.Path(path).read_bytes()
    size, = struct.unpack("<Q", raw[:8])
    data = bytearray(raw[8 + size:])
    tensors = {}
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name == "__metadata__":
            continue
        dtype = dict(F32=torch.float32, F64=torch.float64)[entry["dtype"]]
        flat = torch.frombuffer(data, dtype=dtype, offset=entry["data_offsets"][0], count=math.prod(entry["shape"]))
        tensors[name] = flat.view(entry["shape"]).clone()
    return tensors


def save_safetensors(path, tensors):
    head, blobs, at = {}, [], 0
    for name, tensor in tensors.items():
        blob = tensor.detach().contiguous().numpy().tobytes()
        head[name] = dict(dtype="F32", shape=list(tensor.shape), data_offsets=[at, at + len(blob)])
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


# --- PyTorch: training ------------------------------------------------------------------------------------------------

def config(preset, attention, **more):
    from model import Config
    sizes = dict(PRESETS[preset])
    if attention != "diff":
        sizes["heads"] *= 2             # same head width: diff pairs two of them
    return Config(attention=attention, **sizes, **more)


def make_batches(ids_src, ids_tgt, budget):
    """Pairs sorted by their lengths, padded, cut where (longest side) x (sentences) would pass the budget."""
    import torch
    pairs = [(s + [EOS], [BOS] + t + [EOS]) for s, t in zip(read_ids(ids_src), read_ids(ids_tgt), strict=True)]
    pairs.sort(key=lambda p: (len(p[0]), len(p[1])))
    batches, width = [], 0
    for p in pairs:
        longer = max(len(p[0]), len(p[1]))
        width = max(width, longer)
        if not batches or width * (len(batches[-1]) + 1) > budget:
            batches.append([])
            width = longer
        batches[-1].append(p)
    pad = lambda rows: torch.tensor([r + [PAD] * (max(map(len, rows)) - len(r)) for r in rows])
    vocab = max(8000, 1 + max(max(side) for p in pairs for side in p))
    return vocab, [(pad([s for s, _ in b]), pad([t for _, t in b]), sum(len(s) + len(t) - 1 for s, t in b))
                   for b in batches]


def initial_model(a, vocab):
    import torch
    from model import Transformer
    torch.manual_seed(0)
    return Transformer(config(a.preset, a.attention, vocab=vocab, impl=a.impl))


def torch_train(a):
    import torch
    from model import loss_fn
    vocab, batches = make_batches(a.ids_src, a.ids_tgt, a.batch_tokens)
    model = initial_model(a, vocab)
    if a.init:                          # only writes it, for ours to start from the same numbers
        save_safetensors(a.init, dict(model.named_parameters()))
        return {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    forward = torch.compile(model, dynamic=True) if a.compile else model
    tokens = 0
    for step in range(a.warmup + a.steps):
        if step == a.warmup:
            start, tokens = time.perf_counter(), 0
        src, tgt, count = batches[37 * step % len(batches)]
        loss = loss_fn(forward(src, tgt[:, :-1]), tgt[:, 1:], 0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        tokens += count
    return dict(tokens_per_second=tokens / (time.perf_counter() - start), loss=loss.item(), peak_rss_mib=peak_rss())


def peak_rss():
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- PyTorch: operations ----------------------------------------------------------------------------------------------

def time_call(f, runs=7):
    """Seconds a call: the median of samples of as many calls as last about 20 ms, as tests/bench/bench.h does."""
    def sample(calls):
        start = time.perf_counter()
        for _ in range(calls):
            f()
        return (time.perf_counter() - start) / calls
    f()
    calls = min(max(int(0.02 / sample(1)), 1), 10 ** 6)
    return statistics.median(sample(calls) for _ in range(runs))


def operations():
    """Pairs (name, ways): the cases of tests/bench/ops.cpp. A way makes its inputs and returns what is to be timed."""
    import torch
    import torch.nn.functional as F
    leaf = lambda *shape: torch.randn(*shape).requires_grad_()

    def backward(leaves, forward, *seeds):
        def call():
            for x in leaves:
                x.grad = None
            torch.autograd.backward(forward(), seeds or None)
        return call

    def softmax(width):
        x = torch.randn(2 ** 26 // width, width)
        y = torch.empty_like(x)
        return torch.no_grad()(lambda: torch.softmax(x, -1, out=y))

    def matmul(M, N, K, ta, tb):
        a, b = torch.randn(*((K, M) if ta else (M, K))), torch.randn(*((N, K) if tb else (K, N)))
        return torch.no_grad()(lambda: (a.T if ta else a) @ (b.T if tb else b))

    def cross_entropy():
        x, target = leaf(2048, 8000), torch.randint(8000, (2048,))
        return backward([x], lambda: F.cross_entropy(x, target, label_smoothing=0.1))

    def linear_cross_entropy():
        x, weight, target = leaf(2048, 128), leaf(8000, 128), torch.randint(8000, (2048,))
        return backward([x, weight], lambda: F.cross_entropy(x @ weight.T, target, label_smoothing=0.1))

    def rms_norm(rows, width):
        x, weight, seed = leaf(rows, width), leaf(width), torch.randn(rows, width)
        return backward([x, weight], lambda: F.rms_norm(x, (width,), weight, 1e-5), seed)

    def adamw():
        parameters = [leaf(500, 500) for _ in range(40)]
        for p in parameters:
            p.grad = torch.ones_like(p)
        return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01, fused=True).step

    def chain():
        x, w, b = leaf(8, 8), torch.ones(8, 8).requires_grad_(), leaf(8, 8)
        def forward():
            y = x
            for _ in range(500):
                y = y * w + b
            return y.sum()
        return backward([x, w, b], forward)

    sdpa = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def explicit_map(q, k):
        s = q @ k.transpose(-1, -2) * q.size(-1) ** -0.5
        return s.masked_fill(torch.ones(s.shape[-2:], dtype=torch.bool).triu(1), -torch.inf).softmax(-1)

    def attention(B, T, way):
        q, k, v = (leaf(B, 8, T, 64) for _ in range(3))
        return backward([q, k, v], lambda: way(q, k, v), torch.randn(B, 8, T, 64))

    def diff_attention(B, T, way):      # the pairs' halves, and those of v, lie apart already: PyTorch copies nothing
        q1, q2, k1, k2 = (leaf(B, 8, T, 64) for _ in range(4))
        parts, lam = [leaf(B, 8, T, 64) for _ in range(2)] if way == "sdpa4" else [leaf(B, 8, T, 128)], leaf(1)
        def forward():
            if way == "naive":
                return [(explicit_map(q1, k1) - lam * explicit_map(q2, k2)) @ parts[0]]
            return [sdpa(q1, k1, v) - lam * sdpa(q2, k2, v) for v in parts]
        return backward([q1, q2, k1, k2, lam, *parts], forward, *(torch.randn(v.shape) for v in parts))

    bind = lambda f, *arguments: lambda: f(*arguments)
    for width in (64, 256, 1024, 4096, 8192):
        yield f"softmax/{width}", dict(softmax=bind(softmax, width))
    for M, N, K, form in ((512, 128, 128, "NT"), (512, 256, 128, "NT"), (512, 128, 128, "NN"), (128, 128, 4096, "TN"),
                          (256, 128, 4096, "TN"), (512, 8000, 128, "NT"), (1024, 1024, 1024, "NN")):
        yield f"gemm/{M}x{N}x{K}-{form}", dict(matmul=bind(matmul, M, N, K, form[0] == "T", form[1] == "T"))
    yield "cross_entropy/2048x8000", dict(cross_entropy=cross_entropy)
    yield "linear_cross_entropy/2048x128x8000", dict(linear_cross_entropy=linear_cross_entropy)
    for rows, width in ((512, 128), (65536, 512)):
        yield f"rms_norm/{rows}x{width}", dict(rms_norm=bind(rms_norm, rows, width))
    yield "adamw/10M", dict(fused=adamw)
    for T, B in ((16, 256), (128, 32), (1024, 2), (4096, 1)):
        naive = T <= 1024               # explicit maps of more would fill the memory and lose the race
        yield f"attention/{T}", dict(sdpa=bind(attention, B, T, sdpa)) | (
            dict(naive=bind(attention, B, T, lambda q, k, v: explicit_map(q, k) @ v)) if naive else {})
        yield f"diff_attention/{T}", {way: bind(diff_attention, B, T, way)
                                      for way in ["sdpa2", "sdpa4"] + ["naive"] * naive}
    yield "chain/1000", dict(eager=chain)


def wanted(name, picks):
    return not picks or any(name == pick or name.startswith(pick + "/") for pick in picks)


def torch_ops(a):
    import torch
    torch.manual_seed(0)
    return {name: {way: time_call(make()) * 1e3 for way, make in ways.items()}
            for name, ways in operations() if wanted(name, a.names)}


# --- PyTorch: decoding ------------------------------------------------------------------------------------------------

class Decoder:
    """Greedy decoding of model.py's llama style, made for speed: keys and values of earlier tokens are cached, those of
    the source are computed once, projections of the same input are one product, constants are folded into weights,
    finished sentences leave the batch. With one query a sentence, explicit maps are the quickest attention: the two of
    a pair share one product with the values.
    """

    def __init__(self, model):
        import torch
        self.model, self.c = model, model.c
        c = self.c
        d = self.d = model.encoder.layers[0].self_attn.d
        self.q_heads = c.heads if c.attention == "softmax" else 2 * c.heads
        self.k_heads = 2 * c.heads if c.attention == "diff" else c.heads
        cos, sin = model.tables
        self.turns = torch.complex(cos.float(), sin.float())           # position t rotates pair i by turns[t, i]
        self.layers = []
        for layer in model.decoder.layers:
            own, cross, ffn = layer.self_attn, layer.cross_attn, layer.ffn
            asks = lambda x: [x.q_proj.weight * d ** -0.5] + (
                [x.lambda_proj.weight] if c.attention == "diff-v2" else [])
            self.layers.append(dict(
                norms=[n.weight for n in (layer.self_attn_norm, layer.cross_attn_norm, layer.ffn_norm)],
                own=torch.cat([asks(own)[0], own.k_proj.weight, own.v_proj.weight] + asks(own)[1:]),
                cross=torch.cat(asks(cross)), memory=torch.cat([cross.k_proj.weight, cross.v_proj.weight]),
                out=[own.out_proj.weight, cross.out_proj.weight],
                mix=[self.mixer(own), self.mixer(cross)],
                up=torch.cat([ffn.gate_proj.weight, ffn.up_proj.weight]), down=ffn.down_proj.weight))

    def mixer(self, attention):
        if self.c.attention != "diff":
            return None
        lam = (attention.lambda_q1 @ attention.lambda_k1).exp() - (attention.lambda_q2 @ attention.lambda_k2).exp()
        return (lam + attention.lambda_init).item(), attention.subln.weight * (1 - attention.lambda_init)

    def attend(self, q, k, v, mask, mix, extra):
        """q (B, heads d), k (B k_heads, S, d), v (B h, S, e) -> (B, D)."""
        import torch
        import torch.nn.functional as F
        B, h = q.size(0), self.c.heads
        q = q.reshape(B * self.k_heads, -1, self.d)                    # a key head's queries: 1, in version 2 two
        scores = torch.bmm(q, k.transpose(1, 2)) if mask is None else torch.baddbmm(mask, q, k.transpose(1, 2))
        maps = scores.softmax(-1)
        if self.c.attention == "softmax":
            return torch.bmm(maps, v).view(B, -1)
        maps = maps.view(B * h, 2, -1)
        if self.c.attention == "diff":
            lam, weight = mix
            o = torch.bmm(torch.sub(maps[:, :1], maps[:, 1:], alpha=lam), v).view(B, h, -1)
            return F.rms_norm(o, (2 * self.d,), weight, 1e-5).view(B, -1)
        o = torch.bmm(torch.addcmul(maps[:, :1], extra.sigmoid().reshape(B * h, 1, 1), maps[:, 1:], value=-1), v)
        return o.view(B, -1)

    def rotate(self, x, heads, t):
        import torch
        pairs = torch.view_as_complex(x.unflatten(1, (heads, -1, 2)))
        return torch.view_as_real(pairs * self.turns[t]).flatten(1)

    def batch(self, sources, limits):
        import torch
        import torch.nn.functional as F
        c, d, h, B = self.c, self.d, self.c.heads, len(sources)
        D, kh, Dq = c.d_model, self.k_heads, self.q_heads * d
        S, capacity = max(map(len, sources)), max(limits)
        src = torch.tensor([s + [PAD] * (S - len(s)) for s in sources])
        memory = self.model.encode(src)
        mask = None
        if any(len(s) < S for s in sources):
            mask = torch.zeros(B, S).masked_fill_(src == PAD, -1e30).repeat_interleave(kh, 0).unsqueeze(1)
        cross, own = [], []
        for layer in self.layers:
            k, v = (memory @ layer["memory"].T).split(D, -1)
            lay = lambda x, heads: x.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1).contiguous()
            cross.append([lay(k, kh), lay(v, h)])
            own.append([torch.empty(B * kh, capacity, D // kh), torch.empty(B * h, capacity, D // h)])
        embedding = self.model.embedding.weight
        found = [[] for _ in sources]
        rows, last = torch.arange(B), torch.full((B,), BOS)             # the sentences still open
        limit, done = torch.tensor(limits), torch.zeros(B, dtype=torch.bool)
        words = []                                                      # of the rows since the last compaction
        for t in range(capacity):
            n = len(rows)
            x = F.embedding(last, embedding) * D ** 0.5
            for i, layer in enumerate(self.layers):
                y = F.linear(F.rms_norm(x, (D,), layer["norms"][0], 1e-5), layer["own"])
                turned = self.rotate(y[:, :Dq + D], self.q_heads + kh, t)
                q, k = turned[:, :Dq], turned[:, Dq:]
                keys, values = own[i]
                keys[:, t] = k.reshape(n * kh, -1)
                values[:, t] = y[:, Dq + D:Dq + 2 * D].reshape(n * h, -1)
                o = self.attend(q, keys[:, :t + 1], values[:, :t + 1], None, layer["mix"][0], y[:, Dq + 2 * D:])
                x = torch.addmm(x, o, layer["out"][0].T)
                y = F.linear(F.rms_norm(x, (D,), layer["norms"][1], 1e-5), layer["cross"])
                o = self.attend(y[:, :Dq], *cross[i], mask, layer["mix"][1], y[:, Dq:])
                x = torch.addmm(x, o, layer["out"][1].T)
                gate, up = F.linear(F.rms_norm(x, (D,), layer["norms"][2], 1e-5), layer["up"]).chunk(2, -1)
                x = torch.addmm(x, F.silu(gate) * up, layer["down"].T)
            last = F.linear(F.rms_norm(x, (D,), self.model.decoder.norm.weight, 1e-5), embedding).argmax(-1)
            words.append(last)
            done |= (last == EOS) | (t + 1 >= limit)
            left = n - int(done.sum())
            if left > 0.9 * n:                                          # leaving costs a copy of the caches
                continue
            for row, sentence in zip(rows.tolist(), torch.stack(words, 1).tolist()):
                found[row] += sentence
            if left == 0:
                break
            words, keep = [], (~done).nonzero().squeeze(1)
            rows, last, limit, done = rows[keep], last[keep], limit[keep], done[keep]
            pick = lambda z, heads: z.unflatten(0, (n, heads)).index_select(0, keep).flatten(0, 1)
            cross = [[pick(k, kh), pick(v, h)] for k, v in cross]
            if mask is not None:
                mask = pick(mask, kh)
            for caches in own:
                for j, heads in ((0, kh), (1, h)):
                    kept = torch.empty(left * heads, capacity, caches[j].size(2))
                    kept[:, :t + 1] = pick(caches[j][:, :t + 1], heads)
                    caches[j] = kept
        cut = lambda words, length: words[:words.index(EOS)] if EOS in words[:length] else words[:length]
        return [cut(words, length) for words, length in zip(found, limits)]

    def __call__(self, sources, batch_size):
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        results = [None] * len(sources)
        for begin in range(0, len(order), batch_size):
            part = order[begin:begin + batch_size]
            limits = [int(1.5 * len(sources[i])) + 10 for i in part]
            for i, words in zip(part, self.batch([sources[i] for i in part], limits)):
                results[i] = words
        return results


def torch_decode(a):
    import torch
    from model import Config, Transformer
    record = json.loads(pathlib.Path(a.record).read_text())
    names = ("vocab", "d_model", "heads", "ff", "encoder_layers", "decoder_layers", "attention", "style")
    if record["model"]["style"] != "llama":
        sys.exit("pytorch_peer.py: decodes the llama style only")
    model = Transformer(Config(**{name: record["model"][name] for name in names}))
    model.load_state_dict(load_safetensors(record["parameters"]))
    with torch.inference_mode():
        decoder, results = Decoder(model.eval()), {}
        for size in (64, 128, 256, 512, 1000):
            decoder(record["sources"], size)
            times = []
            for _ in range(3):
                start = time.perf_counter()
                outputs = decoder(record["sources"], size)
                times.append(time.perf_counter() - start)
            differ = sum(x != y for x, y in zip(outputs, record["outputs"], strict=True))
            results[f"batches of {size}"] = dict(sentences_per_second=len(outputs) / statistics.median(times),
                                                 differ=differ, peak_rss_mib=peak_rss())
    return results


# --- Side by side -----------------------------------------------------------------------------------------------------

def ours(a, program, *arguments):
    """Runs one of our programs; returns its record."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "record.json")
        command = [os.path.join(a.build, "bench", program), "--threads", str(a.threads), "--json", path, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"pytorch_peer.py: {' '.join(command)} failed")
        sys.stderr.write(done.stdout)
        record = json.loads(pathlib.Path(path).read_text())
        a.machine = record["machine"]
        return record


def peer(a, task, tuned=True, timeout=None, script=__file__, **more):
    """Runs a task of this file's, or of another script's, in a process of its own, so that its malloc settings and peak
    memory are its own. One with a timeout may fail: then the result is None."""
    arguments = {**vars(a), **more, "task": task}
    environment = {**os.environ, **(MALLOC if tuned else {}), "OMP_NUM_THREADS": str(a.threads)}
    try:
        done = subprocess.run([sys.executable, script, "--worker", json.dumps(arguments)], stdout=subprocess.PIPE,
                              env=environment, timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode and timeout:
        return None
    if done.returncode:
        sys.exit(f"pytorch_peer.py: PyTorch's {task} failed")
    return json.loads(done.stdout.splitlines()[-1])


def worker(text, tasks):
    a = argparse.Namespace(**json.loads(text))
    import torch
    torch.set_num_threads(a.threads)
    print(json.dumps(tasks[a.task](a)))


def version(a):
    import torch
    return torch.__version__


def table(a, title, head, rows):
    """Prints a table: the first column flush left, the others right."""
    print(f"\n{'### ' if a.markdown else ''}{title}\n")
    rows = [[str(cell) for cell in row] for row in rows]
    if a.markdown:
        rows = [head, ["---"] + ["---:"] * (len(head) - 1)] + rows
        print("\n".join("| " + " | ".join(row) + " |" for row in rows), flush=True)
        return
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        cells = [cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip(), flush=True)


def middle(results, rate):
    """Of several rounds, the one with the median rate."""
    return sorted(results, key=lambda result: result[rate])[len(results) // 2]


def slow(theirs, rate):
    """The ways whose last round was so far from the best that they need no other."""
    best = max(results[-1][rate] for results in theirs.values())
    return {name for name, results in theirs.items() if results[-1][rate] < 0.8 * best}


def compare_train(a):
    with tempfile.TemporaryDirectory() as folder:
        init = os.path.join(folder, "init.safetensors")
        peer(a, "train", init=init)
        command = ["train_throughput", "--ids-src", a.ids_src, "--ids-tgt", a.ids_tgt, "--preset", a.preset,
                   "--attention", a.attention, "--steps", str(a.steps), "--warmup", str(a.warmup),
                   "--batch-tokens", str(a.batch_tokens), "--init", init]
        if a.micro_tokens:
            command += ["--micro-tokens", str(a.micro_tokens)]
        us, theirs, hopeless, rate = [], {}, set(), "tokens_per_second"
        for round in range(a.rounds):
            us.append(ours(a, *command))
            for impl in ("naive", "sdpa2", "sdpa4"):
                if impl == "sdpa4" and a.attention != "diff":
                    continue            # v is as narrow as q and k already
                for compiled, tuned in itertools.product((False, True)[:1 + a.compile], (False, True)):
                    name = impl + ", compiled" * compiled + ", malloc tuned" * tuned
                    if name in hopeless:
                        continue
                    result = peer(a, "train", tuned, timeout=900 if compiled else None, impl=impl, compile=compiled)
                    print(f"PyTorch {name}: {result or 'failed, or was not ready after 15 minutes'}", file=sys.stderr)
                    if result:
                        theirs.setdefault(name, []).append(result)
                    else:
                        hopeless.add(name)
            hopeless |= slow(theirs, rate)
    us, theirs = middle(us, rate), {name: middle(results, rate) for name, results in theirs.items()}
    best = max(theirs, key=lambda name: theirs[name][rate])
    least = min(r["peak_rss_mib"] for r in theirs.values())
    rows = [["difftensor", f"{us['tokens_per_second']:,.0f}", f"{us['peak_rss_mib']:,.0f}", f"{us['loss']:.4f}"]]
    rows += [[f"PyTorch, {name}" + " (best)" * (name == best), f"{r['tokens_per_second']:,.0f}",
              f"{r['peak_rss_mib']:,.0f}", f"{r['loss']:.4f}"] for name, r in theirs.items()]
    rows.append(["difftensor / PyTorch's best", f"{us['tokens_per_second'] / theirs[best]['tokens_per_second']:.2f}",
                 f"{us['peak_rss_mib'] / least:.2f}", ""])
    table(a, f"Training, {a.preset}, {a.attention}, {a.threads} threads",
          ["", "tokens/s", "peak RSS, MiB", "last loss"], rows)
    print(f"\nOf a large GEMM's {us['gemm_peak_gflops']:.0f} GFLOP/s, difftensor reached {us['peak_fraction']:.1%}.")


def compare_ops(a):
    us, theirs = {}, {}                 # milliseconds: theirs for each way
    for round in range(a.rounds):
        for name, record in ours(a, "ops", *a.names)["operations"].items():
            us[name] = min(us.get(name, record["ms"]), record["ms"])
        for tuned in (False, True):
            for name, ways in peer(a, "ops", tuned).items():
                for way, ms in ways.items():
                    key = way + ", malloc tuned" * tuned
                    theirs.setdefault(name, {})[key] = min(theirs.get(name, {}).get(key, ms), ms)
    rows = []
    for name, ms in us.items():
        best = min(theirs[name], key=theirs[name].get)
        rows.append([name, f"{ms:.4g}", f"{theirs[name][best]:.4g}", f"{theirs[name][best] / ms:.2f}", best])
    table(a, f"Operations, {a.threads} threads",
          ["", "difftensor, ms", "PyTorch, ms", "times faster", "PyTorch's best"], rows)


def compare_decode(a):
    with tempfile.TemporaryDirectory() as folder:
        record = os.path.join(folder, "decoded.json")
        if a.run:
            what = ["--run", a.run, "--src", a.src]
        else:                           # a model that has seen enough to end its sentences
            path = os.path.join(folder, "model.safetensors")
            ours(a, "train_throughput", "--ids-src", a.ids_src, "--ids-tgt", a.ids_tgt, "--preset", a.preset,
                 "--attention", a.attention, "--warmup", "0", "--steps", str(a.decode_steps), "--save", path)
            what = ["--model", path, "--preset", a.preset, "--attention", a.attention, "--ids-src", a.ids_src]
        us, theirs, rate = [], {}, "sentences_per_second"
        for round in range(a.rounds):
            us.append(ours(a, "decode", *what, "--out", record))
            for tuned in (False, True):
                for name, result in peer(a, "decode", tuned, record=record).items():
                    name += ", malloc tuned" * tuned
                    theirs.setdefault(name, []).append(result)
    us, theirs = middle(us, rate), {name: middle(results, rate) for name, results in theirs.items()}
    best = max(theirs, key=lambda name: theirs[name][rate])
    rows = [["difftensor", f"{us['sentences_per_second']:,.0f}", ""]]
    rows += [[f"PyTorch, {name}" + " (best)" * (name == best), f"{r['sentences_per_second']:,.0f}", r["differ"]]
             for name, r in theirs.items()]
    rows.append(["difftensor / PyTorch's best",
                 f"{us['sentences_per_second'] / theirs[best]['sentences_per_second']:.2f}", ""])
    table(a, f"Greedy decoding of {us['sentences']:,} sentences, {a.threads} threads",
          ["", "sentences/s", "sentences that differ"], rows)


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(sys.argv[2], dict(train=torch_train, ops=torch_ops, decode=torch_decode, version=version))
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("names", nargs="*", help="operations to measure, such as softmax or attention/4096 [all]")
    ap.add_argument("--only", default="train,ops,decode", help="parts, separated by commas [%(default)s]")
    ap.add_argument("--ids-src", help="token ids to train on: source")
    ap.add_argument("--ids-tgt", help="and target")
    ap.add_argument("--preset", default="tiny", choices=PRESETS)
    ap.add_argument("--attention", default="diff", choices=["softmax", "diff", "diff-v2"])
    ap.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    ap.add_argument("--rounds", type=int, default=3,
                    help="all of it so often, in turn, as machines drift; of operations the best counts, otherwise the "
                         "median; a way of PyTorch's training that is far behind in a round has no other [%(default)s]")
    ap.add_argument("--steps", type=int, default=30)
    ap.add_argument("--warmup", type=int, default=5)
    ap.add_argument("--batch-tokens", type=int, default=4096)
    ap.add_argument("--micro-tokens", type=int, help="of ours [its own default]")
    ap.add_argument("--compile", action="store_true", help="try torch.compile too, 15 minutes at most each")
    ap.add_argument("--run", help="decode with the model of this run of build/translate")
    ap.add_argument("--src", help="and these sentences; without, a model is trained on the ids for --decode-steps")
    ap.add_argument("--decode-steps", type=int, default=400)
    ap.add_argument("--build", default=str(HERE.parent.parent / "build"), help="where bench/ with our programs is")
    ap.add_argument("--markdown", action="store_true", help="tables for a README")
    a = ap.parse_args()
    a.impl, a.init, parts = "naive", None, a.only.split(",")
    if set(parts) - {"train", "ops", "decode"}:
        ap.error(f"--only {a.only}: there are train, ops and decode")
    if bool(a.run) != bool(a.src):
        ap.error("--run and --src go together")
    if not (a.ids_src and a.ids_tgt) and ("train" in parts or ("decode" in parts and not a.run)):
        ap.error("--ids-src and --ids-tgt are needed for training and decoding")
    for part in parts:
        dict(train=compare_train, ops=compare_ops, decode=compare_decode)[part](a)
    print(f"\nPyTorch {peer(a, 'version')}; {a.machine['openblas']}; {a.machine['compiler']}; {a.machine['cpu']}")


if __name__ == "__main__":
    main()
