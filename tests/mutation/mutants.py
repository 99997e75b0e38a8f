#!/usr/bin/env python3
"""Puts small faults into copies of the library, one at a time, and counts those that the tests notice: see README.md."""
import argparse, filecmp, hashlib, json, os, re, resource, shutil, signal, subprocess, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = "Makefile README.md core nn optim models examples tests".split()
MUTATED = "core core/ops core/kernels nn optim models".split()
PASSES = ("core/ops/", "core/kernels/", "core/autograd.cpp", "core/parallel_backward.cpp")  # forward and backward
# The builds that a mutant meets, one after the other: a quick one that proves gradients, then one that sees every access
# out of bounds.
PLAIN, ASAN = "plain", "asan"
STAGES = [(PLAIN, "f64"), (ASAN, "f32")]
OPTIMISE = {PLAIN: "-O2 -march=native", ASAN: "-O1 -march=native -fsanitize=address"}
LIBRARY = {"f32": "libdifftensor.a", "f64": "libdifftensor_f64.a"}
EXAMPLES = {"test_text", "test_training", "test_translate", "test_inspect"}  # in float only
SUITES = sorted(p.stem for p in ROOT.glob("tests/test_*.cpp"))

# --- Where a file can be changed ------------------------------------------------------------------------------------
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\])\'|'
                      r'^[ \t]*#(?:\\\n|[^\n])*|\b(?:throw|static_assert)\b[^;]*;', re.S | re.M)
SWAPS = {" + ": " - ", " * ": " / ", " % ": " * ", " += ": " -= ", " *= ": " /= ", " == ": " != ", " && ": " || ",
         " < ": " <= ", " > ": " >= ", "true": "false", "std::min": "std::max", "std::floor": "std::ceil"}
SWAPS |= {to: of for of, to in SWAPS.items() if of != " % "}
SWAP = re.compile(r" [-+*/%]=? | [=!]= | [<>]=? | && | \|\| |\b(?:true|false)\b|\bstd::(?:min|max|floor|ceil)\b(?!\w)")
NUMBER = re.compile(r"(?<![\w.])(?:\d[\d']*\.\d*(?:e[-+]?\d+)?|\d+e[-+]?\d+|0x[\da-fA-F]+|\d[\d']*)(?![\w.])")
UNARY = re.compile(r"(?<![\w)\]] )(?<=[(\[{ ])[-!](?=[\w(])")
STATEMENT = re.compile(r"^ +((?!require|return|delete|using|throw)(?:\*?[\w:.]+(?:->\w+|\[\w+\]|\(\))*"
                       r"(?: [-+*/]?= [^;{}\n]+|\([^;{}\n]*\))));$", re.M)
WORD = re.compile(r"\b[a-zA-Z]\w*\b")
PARTNER = {}
for pair in "a b,x y,i j,q k,rows columns,row column,begin end,M N,query key,rows M,first last,dy y".split(","):
    one, two = pair.split()
    PARTNER.setdefault(one, two), PARTNER.setdefault(two, one)


def code_only(text):
    """The text with blanks for all that is no code: comments, strings, preprocessor, and the messages of require()."""
    blank = lambda s: re.sub(r"[^\n]", " ", s)
    text = NOT_CODE.sub(lambda m: blank(m[0]), text)
    for m in re.finditer(r"\brequire\(", text):
        depth, comma, end = 1, None, m.end()
        while depth and end < len(text):
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(text[end], 0)
            if depth == 1 and text[end] == "," and not comma:
                comma = end
            end += 1
        if comma:
            text = text[:comma] + blank(text[comma:end]) + text[end:]
    return text


def changes(code):
    """(offset, length, new text, kind) of every change there could be."""
    for m in SWAP.finditer(code):
        yield m.start(), len(m[0]), SWAPS[m[0]], "swap"
    for m in UNARY.finditer(code):
        yield m.start(), 1, "", "sign"
    for m in NUMBER.finditer(code):
        if re.search(r"[.e]", m[0]) and "x" not in m[0]:
            yield m.start(), len(m[0]), f"({m[0]} * 1.01)" if float(m[0].replace("'", "")) else "0.01", "constant"
        else:
            yield m.start(), len(m[0]), f"({m[0]} + 1)", "plus 1"
            yield m.start(), len(m[0]), f"({m[0]} - 1)", "minus 1"
    for m in STATEMENT.finditer(code):
        yield m.start(1), len(m[1]), "", "left out"
    for m in WORD.finditer(code):
        before, near = code[:m.start()][-40:], code[max(0, m.start() - 300):m.end() + 300]
        declared = re.search(r"[\w>][&*]? $", before) and not before.endswith("return ")
        if m[0] in PARTNER and not declared and re.search(rf"\b{PARTNER[m[0]]}\b", near):
            yield m.start(), len(m[0]), PARTNER[m[0]], "operand"


def mutants_of(file):
    """At most one for each place, in the order of their names: a sample that edits elsewhere in the file do not change."""
    text = (ROOT / file).read_text()
    lines, code, places = text.split("\n"), code_only(text), {}
    for offset, length, new, kind in changes(code):
        row = text.count("\n", 0, offset)
        column = offset - (text.rfind("\n", 0, offset) + 1)
        line = lines[row].strip()
        same = sum(other.strip() == line for other in lines[:row])  # tells equal lines from each other
        name = hashlib.sha256(f"{file} {line} {same} {column} {kind}".encode()).hexdigest()[:12]
        mutated = text[:offset] + new + text[offset + length:]
        mutant = dict(id=name, file=file, line=row + 1, kind=kind, was=line, now=mutated.split("\n")[row].strip(),
                      text=mutated, content=hashlib.sha256(text.encode()).hexdigest()[:12])
        places[offset] = min(places.get(offset, mutant), mutant, key=lambda m: m["id"])
    return sorted(places.values(), key=lambda m: m["id"])


def sample(count):
    """So many from each file, twice as many from one of forward and backward, or all that it has."""
    files = [str(p.relative_to(ROOT)) for d in MUTATED for p in sorted((ROOT / d).glob("*")) if p.suffix in (".h", ".cpp")]
    all_of, share = {f: mutants_of(f) for f in files}, 0
    chosen = []
    while len(chosen) < min(count, sum(map(len, all_of.values()))):
        share += 1
        chosen = [m for f in files for m in all_of[f][:share * (2 if f.startswith(PASSES) else 1)]]
    return chosen


# --- Building and running -------------------------------------------------------------------------------------------
def run(command, directory, seconds, **environment):
    """The exit code and the output; -9 for one that took too long. Ends whatever the command started, too."""
    limits = lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors="replace", start_new_session=True, preexec_fn=limits,
                               env=os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2",
                                                 "ASAN_OPTIONS": "hard_rss_limit_mb=4000"} | environment)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return -9, "no end"


class Tree:
    """A copy of the sources with builds of its own."""

    def __init__(self, path, jobs=1):
        self.path, self.jobs = path, jobs

    def make(self, build, *targets, seconds=900):
        return run(["make", "-s", f"-j{self.jobs}", f"BUILD=build/{build}", f"OPTIMISE={OPTIMISE[build]}",
                    *(f"build/{build}/{t}" for t in targets)], self.path, seconds)

    def test(self, build, precision, suite, seconds, *flags):
        return run([f"build/{build}/suites/{precision}/{suite}", "--abort-after=1", *flags], self.path, seconds)


def suites_of(precision):
    return [s for s in SUITES if precision == "f32" or s not in EXAMPLES]


def prepare(build_folder, jobs):
    """The unchanged sources, built, and how long each suite takes: the base that every mutant is compared with."""
    base = Tree(build_folder / "base", jobs)
    for source in (p for s in SOURCES for p in ([ROOT / s] if (ROOT / s).is_file() else sorted((ROOT / s).rglob("*")))):
        copy = base.path / source.relative_to(ROOT)
        if source.is_file() and not (copy.exists() and filecmp.cmp(source, copy, shallow=False)):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, copy)
    timings = {}
    for build, precision in STAGES + [(PLAIN, "f32")]:
        targets = [f"suites/{precision}/{s}" for s in suites_of(precision)] if (build, precision) in STAGES else []
        print(f"building what the mutants are compared with: {build}, {precision}", flush=True)
        code, output = base.make(build, LIBRARY[precision], *targets, seconds=7200)
        if code:
            raise SystemExit(output)
        for suite in suites_of(precision) if targets else []:
            binary = base.path / f"build/{build}/suites/{precision}/{suite}"
            record = binary.parent / f"{suite}.json"
            if not record.exists() or record.stat().st_mtime < binary.stat().st_mtime:
                start = time.time()
                code, output = base.test(build, precision, suite, 3600, "-d")
                if code:
                    raise SystemExit(f"{suite} fails without any mutant:\n{output}")
                # Under ASan a case that takes seconds is left out: the plain build runs it.
                cases = re.findall(r"^(\S+) s: (.*)$", output, re.M)
                slow = {name: float(s) for s, name in cases if float(s) > 4 and build == ASAN}
                record.write_text(json.dumps(dict(seconds=time.time() - start - sum(slow.values()), slow=list(slow))))
            timings[build, suite] = json.loads(record.read_text())
    return base, timings


class Worker(threading.Thread):
    def __init__(self, shared, number):
        super().__init__(daemon=True)
        self.shared, self.base = shared, shared.base.path
        self.tree = Tree(shared.folder / f"worker{number}")
        shutil.rmtree(self.tree.path, ignore_errors=True)
        shutil.copytree(self.base, self.tree.path)  # with the files' times, so that make finds all built

    def run(self):
        while mutant := self.shared.next():
            start = time.time()
            verdict, by = self.judge(mutant)
            self.shared.done(mutant, verdict, by, time.time() - start)

    def objects(self, file, pattern):
        """The objects that are made from this file, as make's dependencies say."""
        for d in self.base.glob(f"build/*/f*/{pattern}.d"):
            if re.search(rf"(^|\s){re.escape(file)}(\s|$)", d.read_text()):
                yield d.with_suffix(".o").relative_to(self.base)

    def judge(self, mutant):
        source = self.tree.path / mutant["file"]
        try:
            source.write_text(mutant["text"])
            return self.verdict(mutant)
        finally:  # as it was, times too
            shutil.copy2(self.base / mutant["file"], source)
            for o in self.objects(mutant["file"], "**/*"):
                shutil.copy2(self.base / o, self.tree.path / o)
            for stale in [*self.tree.path.glob("build/*/*.a"), *self.tree.path.glob("build/*/suites/*/test_*")]:
                stale.unlink()

    def verdict(self, mutant):
        is_header = mutant["file"].endswith(".h")
        if self.tree.make(PLAIN, LIBRARY["f64"])[0]:
            return "not built", ""
        if not is_header and self.is_same(mutant):
            return "equivalent", ""
        for build, precision in STAGES:
            for suite in self.shared.order(mutant, build, precision):
                code, output = self.tree.make(build, f"suites/{precision}/{suite}")
                if code:
                    return "not built", output[-500:]
                timing = self.shared.timings[build, suite]
                skip = ["-tce=" + ",".join(re.sub(r"[,\\]", "*", s) for s in timing["slow"])] if timing["slow"] else []
                code, output = self.tree.test(build, precision, suite, 30 + 6 * timing["seconds"], *skip)
                if code:
                    case = re.search(r"TEST CASE: *(.*)", output)
                    why = "no end" if code == -9 else "AddressSanitizer" if "AddressSan" in output else ""
                    return "caught", f"{build} {precision} {suite}: {case[1] if case else ''} {why}".strip()
            if is_header and build == PLAIN and self.is_same(mutant):
                return "equivalent", ""
        return "alive", ""

    def is_same(self, mutant):
        """Does the compiler make the same objects of it?"""
        for precision in ("f64", "f32"):  # tests' objects are there in double only
            objects = [o for pattern in ("**/*", "tests/*") for o in self.objects(mutant["file"], pattern)
                       if o.parts[1:3] == (PLAIN, precision) and (precision == "f64" or o.parts[3] in ("core", "nn", "optim", "models"))]
            if self.tree.make(PLAIN, *{str(Path(*o.parts[2:])) for o in objects})[0]:
                return False
            if not all(filecmp.cmp(self.base / o, self.tree.path / o, shallow=False) for o in objects):
                return False
        return True


class Shared:
    """What the workers share: the mutants that are left, the results, and which suites are good at catching."""

    def __init__(self, folder, base, timings, mutants, old):
        self.folder, self.base, self.timings, self.lock = folder, base, timings, threading.Lock()
        self.left, self.results, self.start, self.fresh = mutants, old, time.time(), 0

    def next(self):
        with self.lock:
            return self.left.pop(0) if self.left else None

    def order(self, mutant, build, precision):
        """First the suite that caught most in this file, then in this folder, then the quickest."""
        def rank(suite):
            caught = [r["file"] for r in self.results.values() if r["verdict"] == "caught" and f" {suite}:" in r["by"]]
            folder = os.path.dirname(mutant["file"])
            return (-caught.count(mutant["file"]), -sum(os.path.dirname(f) == folder for f in caught),
                    self.timings[build, suite]["seconds"])
        with self.lock:
            return sorted(suites_of(precision), key=rank)

    def done(self, mutant, verdict, by, seconds):
        with self.lock:
            result = {k: v for k, v in mutant.items() if k != "text"} | dict(verdict=verdict, by=by, seconds=round(seconds))
            self.results[mutant["id"]] = result
            with open(self.folder / "results.jsonl", "a") as f:
                f.write(json.dumps(result) + "\n")
            self.fresh += 1
            rate = self.fresh / (time.time() - self.start)
            print(f"{len(self.left)} left, {60 * rate:.1f} a minute, {len(self.left) / rate / 60:.0f} min to go: "
                  f"{verdict:10} {mutant['file']}:{mutant['line']} {mutant['kind']} {by or mutant['now']}", flush=True)


# --- The table ------------------------------------------------------------------------------------------------------
def report(sampled, results):
    verdicts = ["not built", "equivalent", "caught", "alive"]
    print("\n| | mutants | " + " | ".join(verdicts) + " | caught of those that differ |\n|---|" + "---:|" * 6)
    for name in MUTATED + ["forward and backward", "all"]:
        rows = [results[m["id"]]["verdict"] for m in sampled if m["id"] in results and (
            name == "all" or os.path.dirname(m["file"]) == name or
            name == "forward and backward" and m["file"].startswith(PASSES))]
        n = {v: rows.count(v) for v in verdicts}
        percent = 100 * n["caught"] / max(1, n["caught"] + n["alive"])
        print(f"| {name} | {len(rows)} | " + " | ".join(str(n[v]) for v in verdicts) + f" | {percent:.1f}% |")
    known = (ROOT / "tests/mutation/survivors.md").read_text()
    alive = [r for m in sampled if (r := results.get(m["id"])) and r["verdict"] == "alive"]
    for r in alive:
        print(f"\nalive{'' if r['id'] in known else ', and not in survivors.md'}: {r['id']} {r['file']}:{r['line']} "
              f"({r['kind']})\n  - {r['was']}\n  + {r['now']}")
    return all(r["id"] in known for r in alive)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="at least so many")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="at the same time")
    parser.add_argument("--build", type=Path, default=ROOT / "build/mutants", help="where the copies and results are")
    parser.add_argument("--only", default="", help="those whose file:line or id begins so, once more")
    parser.add_argument("--alive", action="store_true", help="those that lived, once more: new tests may catch them")
    parser.add_argument("--list", action="store_true", help="the table of the results so far")
    args = parser.parse_args()
    folder = args.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sampled, results = sample(args.count), {}
    if (folder / "results.jsonl").exists():
        for line in (folder / "results.jsonl").read_text().splitlines():
            results[(r := json.loads(line))["id"]] = r
    # A result holds until its file changes.
    again = lambda m: (args.only and f"{m['file']}:{m['line']} {m['id']}".startswith(args.only) or args.only == m["id"] or
                       args.alive and results[m["id"]]["verdict"] == "alive")
    results = {m["id"]: r for m in sampled if (r := results.get(m["id"])) and r["content"] == m["content"] and not again(m)}
    if not args.list:
        base, timings = prepare(folder, args.workers)
        users = lambda m: len(list(Worker.objects(argparse.Namespace(base=base.path), m["file"], "**/*")))
        # Those that few objects depend on first; mixed, so that the rate says something about the rest.
        left = sorted((m for m in sampled if m["id"] not in results), key=lambda m: (users(m) > 40, m["id"]))
        print(f"{len(sampled)} mutants, {len(left)} to go", flush=True)
        shared = Shared(folder, base, timings, left, results)
        workers = [Worker(shared, i) for i in range(min(args.workers, len(left)))]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        results = shared.results
    raise SystemExit(not report(sampled, results))


if __name__ == "__main__":
    main()
