#!/usr/bin/env python3
"""Puts small faults into copies of the library, one at a time, and counts those that the tests notice: see README.md."""
import argparse, concurrent.futures, filecmp, hashlib, json, os, queue, re, shutil, signal, subprocess, threading, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = "Makefile README.md core nn optim models examples tests".split()
MUTATED = "core core/ops core/kernels nn optim models".split()
PASSES = ("core/ops/", "core/kernels/", "core/autograd.cpp", "core/parallel_backward.cpp")  # forward and backward
# The builds that a mutant meets, one after the other: a quick one that proves gradients, then one that sees every access
# out of bounds.
PLAIN, ASAN = "plain", "asan"
STAGES = [(PLAIN, "f64"), (ASAN, "f32")]
LIVED = ["", "alive so far", "alive"]  # after so many of them
OPTIMISE = {PLAIN: "-O2 -march=native", ASAN: "-O1 -march=native -fsanitize=address"}
LIBRARY = {"f32": "libdifftensor.a", "f64": "libdifftensor_f64.a"}
EXAMPLES = {"test_text", "test_training", "test_translate", "test_inspect", "test_language_task",
            "test_needle", "test_study", "test_distractors"}  # in float only
# Not test_formulas: it compares a page with the text of the sources, so that any change would be noticed there.
SUITES = sorted(p.stem for p in ROOT.glob("tests/test_*.cpp") if p.stem != "test_formulas")
RESULTS = ROOT / "tests/mutation/results.jsonl"  # committed: another machine goes on where this one stopped
NO_EFFECT, _, NOT_TESTED = (ROOT / "tests/mutation/survivors.md").read_text().partition("## Not tested")

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
PARTNER = dict(p.split() for p in "a b,b a,x y,y x,i j,j i,q k,k q,rows columns,columns rows,row column,column row,"
               "begin end,end begin,M N,N M,query key,key query,first last,last first,dy y".split(","))


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
def run(command, directory, seconds):
    """The exit code, -9 after so many seconds, and the output."""
    settings = {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2", "ASAN_OPTIONS": "hard_rss_limit_mb=4000",
                "DT_PRODUCTS": "300"}  # of more, each with threads of its own, LeakSanitizer loses count
    # timeout(1) ends what the command started, too, and does so even when this program is gone.
    done = subprocess.run(["timeout", "-s", "KILL", str(seconds), *command], cwd=directory, env=os.environ | settings,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    return done.returncode, done.stdout


class Tree:
    """A copy of the sources with builds of its own."""

    def __init__(self, path, jobs=1):
        self.path, self.jobs = path, jobs

    def make(self, build, *targets):
        return run(["make", "-s", f"-j{self.jobs}", f"BUILD=build/{build}", f"OPTIMISE={OPTIMISE[build]}",
                    *(f"build/{build}/{t}" for t in targets)], self.path, 7200)

    def test(self, build, precision, suite, seconds, *flags):
        return run([f"build/{build}/suites/{precision}/{suite}", "--abort-after=1", *flags], self.path, seconds)

    def objects(self, file):
        """All objects that are made from this file, as make's dependencies say."""
        return [d.with_suffix(".o").relative_to(self.path) for d in self.path.glob("build/*/f*/**/*.d")
                if re.search(rf"(^|\s){re.escape(file)}(\s|$)", d.read_text())]


def suites_of(precision):
    return [s for s in SUITES if precision == "f32" or s not in EXAMPLES]


def prepare(base, build, precision):
    """Builds the unchanged sources. How long each suite takes there, and its slow cases."""
    print(f"the build without any mutant: {build}, {precision}", flush=True)
    timings, folder = {}, base.path / f"build/{build}/suites/{precision}"
    code, output = base.make(build, LIBRARY[precision], *(f"suites/{precision}/{s}" for s in suites_of(precision)))
    if code == 0 and build == PLAIN:  # is_same() compares these
        code, output = base.make(build, LIBRARY["f32"])
    if code:
        raise SystemExit(output)
    for suite in suites_of(precision):
        record = folder / f"{suite}.json"
        if not record.exists() or record.stat().st_mtime < (folder / suite).stat().st_mtime:
            start = time.time()
            code, output = base.test(build, precision, suite, 3600, "-d")
            if code:
                raise SystemExit(f"{suite} fails without any mutant:\n{output}")
            # Under ASan a case that takes seconds is left out: the plain build runs it.
            slow = {name: float(s) for s, name in re.findall(r"^(\S+) s: (.*)$", output, re.M) if float(s) > 4}
            slow = slow if build == ASAN else {}
            record.write_text(json.dumps(dict(seconds=time.time() - start - sum(slow.values()), slow=list(slow))))
        timings[build, suite] = json.loads(record.read_text())
    return timings


class Session:
    """Judges mutants, several at a time, each in a copy of the base."""

    def __init__(self, folder, mutants, results, workers):
        self.folder, self.base, self.results, self.lock = folder, Tree(folder / "base", workers), results, threading.Lock()
        makefile = self.base.path / "Makefile"
        if makefile.exists() and makefile.read_bytes() != (ROOT / "Makefile").read_bytes():
            shutil.rmtree(self.base.path)  # make would keep objects that were made with other flags
        self.base.path.mkdir(exist_ok=True)
        subprocess.run(["cp", "-ru", *SOURCES, self.base.path], cwd=ROOT, check=True)
        # All in the quick build first; then those that live, in the slow one.
        for stage, (build, precision) in enumerate(STAGES):
            self.timings, self.trees = prepare(self.base, build, precision), queue.Queue()
            for i in range(workers):
                tree = Tree(folder / f"worker{i}")
                shutil.rmtree(tree.path, ignore_errors=True)
                shutil.copytree(self.base.path, tree.path)  # with the files' times, so that make finds all built
                self.trees.put(tree)
            # Those that few objects depend on first; mixed, so that the rate says something about the rest.
            users = {file: len(self.base.objects(file)) for file in {m["file"] for m in mutants}}
            left = [m for m in mutants if results.get(m["id"], {}).get("verdict", LIVED[0]) == LIVED[stage] and
                    not (stage and m["id"] in NO_EFFECT)]
            self.left, self.total, self.start = len(left), len(left), time.time()
            print(f"{self.left} to go in the build {build}", flush=True)
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                list(pool.map(lambda mutant: self.judge(mutant, stage),
                              sorted(left, key=lambda m: (users[m["file"]] > 60, m["id"]))))

    def judge(self, mutant, stage):
        tree = self.trees.get()
        source, objects = tree.path / mutant["file"], self.base.objects(mutant["file"])
        source.write_text(mutant["text"])
        verdict, by = self.verdict(mutant, tree, objects, stage)
        for changed in [mutant["file"], *objects]:  # as it was, times too
            shutil.copy2(self.base.path / changed, tree.path / changed)
        for stale in [*tree.path.glob("build/*/*.a"), *tree.path.glob("build/*/suites/*/test_*")]:
            stale.unlink()
        self.trees.put(tree)
        with self.lock:
            result = {k: mutant[k] for k in ("id", "file", "content")} | dict(verdict=verdict, by=by)
            self.results[mutant["id"]] = result
            with open(RESULTS, "a") as f:
                f.write(json.dumps(result) + "\n")
            self.left -= 1
            rate = (self.total - self.left) / (time.time() - self.start) * 60
            print(f"{self.left} left, {rate:.1f} a minute, {self.left / rate:.0f} min to go: {verdict:10} "
                  f"{mutant['file']}:{mutant['line']} {mutant['kind']} {by or mutant['now']}", flush=True)

    def verdict(self, mutant, tree, objects, stage):
        (build, precision), is_header = STAGES[stage], mutant["file"].endswith(".h")
        if tree.make(build, LIBRARY[precision])[0]:
            return "not built", ""
        if stage == 0 and not is_header and self.is_same(tree, objects):
            return "equivalent", ""
        for suite in self.order(mutant, build, precision):
            if tree.make(build, f"suites/{precision}/{suite}")[0]:
                return "not built", ""
            slow = ",".join(re.sub(r"[,\\]", "*", name) for name in self.timings[build, suite]["slow"])
            code, output = tree.test(build, precision, suite, 30 + 6 * self.timings[build, suite]["seconds"],
                                     *([f"-tce={slow}"] if slow else []))
            if code:
                case = ["", *re.findall(r"TEST CASE: *(.*)", output)][-1]  # passed ones that print something come before
                why = "no end" if code == -9 else "AddressSanitizer" if "AddressSan" in output else ""
                return "caught", f"{build} {precision} {suite}: {case} {why}".strip()
        if stage == 0 and is_header and self.is_same(tree, objects):
            return "equivalent", ""
        return LIVED[stage + 1], ""

    def is_same(self, tree, objects):
        """Does the compiler make the same objects of it? (The tests' are there in double only.)"""
        for precision in ("f64", "f32"):
            of = [o for o in objects if o.parts[1:3] == (PLAIN, precision) and
                  (precision == "f64" or o.parts[3] not in ("tests", "examples"))]
            if tree.make(PLAIN, *(Path(*o.parts[2:]) for o in of))[0] or not all(
                    filecmp.cmp(self.base.path / o, tree.path / o, shallow=False) for o in of):
                return False
        return True

    def order(self, mutant, build, precision):
        """First the suite that caught most in this file, then in this folder, then the quickest."""
        def rank(suite):
            caught = [r["file"] for r in self.results.values() if r["verdict"] == "caught" and f" {suite}:" in r["by"]]
            folder = os.path.dirname(mutant["file"])
            return (-caught.count(mutant["file"]), -sum(os.path.dirname(f) == folder for f in caught),
                    self.timings[build, suite]["seconds"])
        with self.lock:
            return sorted(suites_of(precision), key=rank)


# --- The table ------------------------------------------------------------------------------------------------------
def report(sampled, results):
    """Prints what lives, and the table. True if survivors.md has all that lives."""
    columns, rows, unknown = ["not built", "equivalent", "no effect", "caught", "alive"], [], 0
    for mutant in (m for m in sampled if m["id"] in results):
        verdict = results[mutant["id"]]["verdict"]
        if verdict in LIVED:
            verdict = "no effect" if mutant["id"] in NO_EFFECT else "alive"
        if verdict == "alive" and mutant["id"] not in NOT_TESTED:
            unknown += 1
            print(f"alive and not in survivors.md: {mutant['id']} {mutant['file']}:{mutant['line']} ({mutant['kind']})\n"
                  f"  - {mutant['was']}\n  + {mutant['now']}")
        rows.append((mutant["file"], verdict))
    print("\n| | mutants | " + " | ".join(columns) + " | caught of caught and alive |\n|---|" + "---:|" * 7)
    for name in MUTATED + ["forward and backward", "all"]:
        of = [verdict for file, verdict in rows if name == "all" or os.path.dirname(file) == name or
              name == "forward and backward" and file.startswith(PASSES)]
        caught, alive = of.count("caught"), of.count("alive")
        print(f"| {name} | {len(of)} | " + " | ".join(str(of.count(c)) for c in columns) +
              f" | {100 * caught / max(1, caught + alive):.1f}% |")
    return not unknown


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=320, help="at least so many")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="at the same time")
    parser.add_argument("--build", type=Path, default=ROOT / "build/mutants", help="where the copies are")
    parser.add_argument("--only", default="", help="those whose file:line or id begins so, once more")
    parser.add_argument("--alive", action="store_true", help="those that lived, once more: new tests may catch them")
    parser.add_argument("--list", action="store_true", help="the table of the results so far")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once: what is done is in the file
    folder = args.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    sampled, results = sample(args.count), {}
    if RESULTS.exists():
        results = {r["id"]: r for r in map(json.loads, RESULTS.read_text().splitlines())}
    # A result holds until its file changes.
    again = lambda m, r: (args.only and (f"{m['file']}:{m['line']}".startswith(args.only) or args.only == m["id"]) or
                          args.alive and r["verdict"] == "alive" and m["id"] not in NO_EFFECT)
    results = {m["id"]: r for m in sampled
               if (r := results.get(m["id"])) and r["content"] == m["content"] and not again(m, r)}
    if not args.list:
        Session(folder, sampled, results, args.workers)
    raise SystemExit(not report(sampled, results))


if __name__ == "__main__":
    main()
