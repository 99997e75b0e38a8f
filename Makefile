# difftensor. `make demo` sets up, builds, trains and shows; `make test` proves. The other goals are listed by `make help`.
CXX      ?= g++
# The CPU to build for, as -march takes it: this machine's. make ARCH=x86-64-v3 BUILD=build/v3 builds for others too.
ARCH     ?= native
# No -ffast-math: NaN and infinity keep their meaning. Compilers take half of AVX-512's registers if they are not told.
OPTIMISE ?= -O3 -march=$(ARCH) $(WIDE) -fno-math-errno -fno-trapping-math
X86       = $(filter x86_64%,$(shell $(CXX) -dumpmachine))
WIDE      = $(if $(X86),-mprefer-vector-width=512)
BUILD    ?= build
PREFIX   ?= /usr/local
# clang warns, without being asked, of every loop that it was allowed to vectorise and did not.
WARNINGS  = -Wall -Wextra -Wpedantic -Wno-pass-failed
# A product and a sum are two operations, rounded twice, unless the source asks for both at once (core/kernels/README.md).
ROUNDING  = -ffp-contract=off
# pkg-config is asked when a rule runs, not when this file is read: `make deps` may just have installed it.
# Headers of others are "system" headers: what compilers think of them is none of our warnings.
CXXFLAGS  = -std=c++20 $(OPTIMISE) $(ROUNDING) $(WARNINGS) -fopenmp -I. -MMD -MP \
            $(patsubst -I%,-isystem %,$(shell pkg-config --cflags openblas nlohmann_json))
LDLIBS    = $(shell pkg-config --libs openblas $(if $(filter 1,$(MPI)),ompi-c))

LIBRARY   := $(wildcard core/*.cpp core/ops/*.cpp core/kernels/*.cpp nn/*.cpp optim/*.cpp models/*.cpp)
# Processes that share out a training: with MPI=1 those of mpirun (examples/training/ranks.h).
MPI       ?= 0
TRAINING  := $(filter-out %/ranks_mpi.cpp %/ranks_single.cpp,$(wildcard examples/text/*.cpp examples/training/*.cpp)) \
             examples/training/ranks_$(if $(filter 1,$(MPI)),mpi,single).cpp
# Programs, each in a folder of examples/ that has its name.
PROGRAMS  := translate language_model needle
PARTS     := $(wildcard $(PROGRAMS:%=examples/%/*.cpp))
# What the tests and benchmarks link: all of the examples but main() and its subcommands.
EXAMPLES  := $(TRAINING) $(filter-out %/main.cpp $(wildcard examples/*/command_*.cpp),$(PARTS))
SUITES    := tests/main.cpp tests/golden_check.cpp tests/gradcheck_rows.cpp $(wildcard tests/test_*.cpp tests/property*.cpp)
EXAMPLE_SUITES := $(addprefix tests/test_,text.cpp training.cpp translate.cpp distractors.cpp inspect.cpp language_task.cpp study.cpp needle.cpp)
HEADERS   := $(wildcard core/*.h core/ops/*.h core/kernels/*.h nn/*.h optim/*.h models/*.h)

TOUR       = $(patsubst examples/tour/%.cpp,$(BUILD)/tour/%,$(wildcard examples/tour/*.cpp))
BENCHMARKS = $(addprefix $(BUILD)/bench/,train_throughput train_language_model ops decode)

f32 = $(patsubst %.cpp,$(BUILD)/f32/%.o,$(1))
f64 = $(patsubst %.cpp,$(BUILD)/f64/%.o,$(1))

all: $(BUILD)/libdifftensor.a $(PROGRAMS:%=$(BUILD)/%) $(TOUR)

help:
	@echo "make            the library and the examples, in $(BUILD)/; make MPI=1: trainings can be shared out by mpirun"
	@echo "make demo       set up, build, train the built-in translation task and show what it learned"
	@echo "make tour       ten programs, from one number's gradient to a GPT, each with a page in examples/tour"
	@echo "make test       set up, build and run every test, in float and in double"
	@echo "make bits       the same bits in builds for other CPUs, by g++ and clang++"
	@echo "make golden     compare with PyTorch's numbers; FILES=\"a.safetensors ...\" for others than tests/golden"
	@echo "make bench      the benchmarks, in $(BUILD)/bench; tests/bench/pytorch_peer.py compares them with PyTorch"
	@echo "make asan       the tests under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make tsan       the tests of threads under ThreadSanitizer, built by clang++ with libomp, which it understands"
	@echo "make browser    the page of translate inspect in a headless Chromium, and the charts"
	@echo "make fuzz       hostile bytes for everything that is read, by clang's libFuzzer; FUZZ_SECONDS=60 for each"
	@echo "make coverage   the tests in float by clang++ under both sanitizers, and which lines of the library they run"
	@echo "make lint       clang-tidy and cppcheck; tests/lint says what they are asked, and what not"
	@echo "make compilers  the library as every g++ and clang++ that is here reads it, in C++20 and C++23, for old CPUs and new"
	@echo "make mutants    do the tests notice each of MUTANTS=$(MUTANTS) small faults, put into a copy of the library? Takes hours"
	@echo "make install    headers, static libraries, files for pkg-config and CMake, into PREFIX=$(PREFIX); make uninstall"
	@echo "make deps       install what is missing through the package manager"
	@echo "make loc        lines of code by folder"
	@echo "make folders    draw which folder includes which: core/folders.svg (needs Graphviz)"
	@echo "make clean      remove $(BUILD)/"

JOBS ?= $(shell nproc 2>/dev/null || echo 2)

# --- Building -----------------------------------------------------------------------------------------------------
$(BUILD)/f32/%.o: %.cpp
	@mkdir -p $(@D) && echo "  compile $<"
	@$(CXX) $(CXXFLAGS) -c $< -o $@
$(BUILD)/f64/%.o: %.cpp
	@mkdir -p $(@D) && echo "  compile $< in double"
	@$(CXX) $(CXXFLAGS) -DDT_DOUBLE -c $< -o $@

# The page of `translate inspect`, as a string literal.
$(BUILD)/inspect.html.inc: examples/translate/inspect.html
	@mkdir -p $(@D) && { printf 'R"html('; cat $<; printf ')html"'; } > $@
$(BUILD)/f32/examples/translate/inspect.o: CXXFLAGS += -I$(BUILD)
$(BUILD)/f32/examples/translate/inspect.o: $(BUILD)/inspect.html.inc

# Most of what is compiled need not be fast: the tests, but properties, which compute a lot; what reads the command line.
# Tests that include kernels are compiled as the library is: of an inline function that both have, one copy is linked.
AT_O0     := $(filter-out tests/property% $(shell grep -l '"core/kernels' tests/*.cpp),$(SUITES))
AT_O1     := $(wildcard tests/property*.cpp $(addprefix examples/, */main.cpp */command_*.cpp \
             $(addprefix training/,program.cpp train_command.cpp compare.cpp settings.cpp))) \
             $(addprefix tests/bench/,bench.cpp train_throughput.cpp train_language_model.cpp decode.cpp)
$(call f32,$(AT_O0)) $(call f64,$(AT_O0)): CXXFLAGS += -O0
$(call f32,$(AT_O1)) $(call f64,$(AT_O1)): CXXFLAGS += -O1
$(call f32,$(SUITES) $(filter-out $(wildcard core/*.cpp),$(LIBRARY))): CXXFLAGS += $(NOT_FUZZED)

# The library is clean of these too, for its headers are compiled with other people's warnings.
$(call f32,$(LIBRARY)) $(call f64,$(LIBRARY)): WARNINGS += -Wshadow -Wconversion -Wno-sign-conversion

$(BUILD)/libdifftensor.a: $(call f32,$(LIBRARY))
	@echo "  archive $@" && rm -f $@ && ar rcs $@ $^
$(BUILD)/libdifftensor_f64.a: $(call f64,$(LIBRARY))
	@echo "  archive $@" && rm -f $@ && ar rcs $@ $^

$(foreach p,$(PROGRAMS),$(eval $(BUILD)/$p $(BUILD)/with_mpi/$p: $(call f32,$(filter examples/$p/%,$(PARTS)))))
$(PROGRAMS:%=$(BUILD)/%): $(call f32,$(TRAINING)) $(BUILD)/libdifftensor.a $(BUILD)/mpi-$(MPI)
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(LDLIBS) $(shell pkg-config --libs sentencepiece)
$(BUILD)/f32/examples/training/ranks_mpi.o: CXXFLAGS += -DOMPI_SKIP_MPICXX $(patsubst -I%,-isystem %,$(shell pkg-config --cflags ompi-c))
# For the tests: the programs with MPI, beside those without.
WITH_MPI   = $(if $(shell pkg-config --exists ompi-c && command -v mpirun),$(PROGRAMS:%=$(BUILD)/with_mpi/%))
$(PROGRAMS:%=$(BUILD)/with_mpi/%): $(call f32,$(filter-out %/ranks_single.cpp,$(TRAINING)) examples/training/ranks_mpi.cpp) $(BUILD)/libdifftensor.a
	@mkdir -p $(@D) && echo "  link $@" && $(CXX) $(CXXFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(LDLIBS) $(shell pkg-config --libs sentencepiece ompi-c)
# Programs are linked again when MPI is another than the last time.
$(BUILD)/mpi-0 $(BUILD)/mpi-1:
	@mkdir -p $(@D) && rm -f $(BUILD)/mpi-* && touch $@
$(BUILD)/tour/%: $(BUILD)/f32/examples/tour/%.o $(BUILD)/libdifftensor.a
	@mkdir -p $(@D) && echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS)
$(BUILD)/tests_f32: $(call f32,$(SUITES) $(EXAMPLES)) $(BUILD)/libdifftensor.a
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS) $(shell pkg-config --libs sentencepiece)
$(BUILD)/tests_f64: $(call f64,$(filter-out $(EXAMPLE_SUITES),$(SUITES))) $(BUILD)/libdifftensor_f64.a
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS)
$(BUILD)/tests_bits: $(call f32,$(addprefix tests/,main.cpp test_bits.cpp test_kernels.cpp)) $(BUILD)/libdifftensor.a
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS)
# One file of tests alone, as `make mutants` runs them.
link_suite = mkdir -p $(@D) && $(CXX) $(CXXFLAGS) $(filter %.o,$^) $(filter %.a,$^) -o $@ $(LDLIBS)
$(BUILD)/suites/f32/%: $(BUILD)/f32/tests/%.o $(call f32,tests/main.cpp) $(BUILD)/libdifftensor.a
	@$(link_suite) $(shell pkg-config --libs sentencepiece)
$(BUILD)/suites/f64/%: $(BUILD)/f64/tests/%.o $(call f64,tests/main.cpp) $(BUILD)/libdifftensor_f64.a
	@$(link_suite)
$(BUILD)/suites/f32/test_golden: $(call f32,tests/golden_check.cpp)
$(BUILD)/suites/f32/test_gradcheck: $(call f32,tests/gradcheck_rows.cpp)
$(BUILD)/suites/f64/test_golden: $(call f64,tests/golden_check.cpp)
$(BUILD)/suites/f64/test_gradcheck: $(call f64,tests/gradcheck_rows.cpp)
$(EXAMPLE_SUITES:tests/%.cpp=$(BUILD)/suites/f32/%): $(call f32,$(EXAMPLES))
# A disk that fails on demand, for tests/test_faults.sh.
$(BUILD)/faults.so: tests/faults/shim.c
	@mkdir -p $(@D) && echo "  link $@" && $(CXX) -x c $(WARNINGS) -O1 -shared -fPIC $< -o $@
$(BUILD)/golden_%: $(BUILD)/%/tests/golden_main.o $(BUILD)/%/tests/golden_check.o
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS)
$(BUILD)/bench/%: $(BUILD)/f32/tests/bench/%.o $(call f32,tests/bench/bench.cpp $(EXAMPLES)) $(BUILD)/libdifftensor.a
	@mkdir -p $(@D) && echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS) $(shell pkg-config --libs sentencepiece)
$(BUILD)/golden_f32: $(BUILD)/libdifftensor.a
$(BUILD)/golden_f64: $(BUILD)/libdifftensor_f64.a

# Waiting threads sleep rather than spin: the tests' many tiny loops would otherwise crawl on a busy machine.
test tour asan tsan golden coverage: export OMP_WAIT_POLICY = passive

# --- Running ------------------------------------------------------------------------------------------------------
demo: deps
	@$(MAKE) -s -j$(JOBS) all
	rm -rf $(BUILD)/demo
	$(BUILD)/translate train --run $(BUILD)/demo
	$(BUILD)/translate test --run $(BUILD)/demo
	@echo
	@echo "The model writes numbers in German that it never saw: it puts ones before tens (zweiunddreißig), and fuses words."
	@echo "Look first at $(BUILD)/demo/attention.svg: a head reads the English in the order in which German is written, and"
	@echo "its second map takes away what is done with. $(BUILD)/demo/loss.svg shows how the training went. Ask it yourself:"
	@echo "  echo 'four hundred fifty-six thousand seven hundred eighty-nine' | $(BUILD)/translate translate --run $(BUILD)/demo"

tour: deps
	@$(MAKE) -s -j$(JOBS) $(TOUR)
	@for program in $$(printf '%s\n' $(TOUR) | sort -V); do \
	  echo "--- $$program, explained in examples/tour/$${program##*/}.md" && $$program && echo || exit 1; done

# The suites run side by side, and each prints what it found when it ends. The longest come first.
CLI_SUITES = needle_cli train_cli settings_cli eval_cli cli inspect language_cli study_cli
suites: run-test_faults run-tests_f64 run-test_mpi run-test_browser run-tests_f32 \
        $(addprefix run-test_,$(CLI_SUITES) tour install pages bench)
run-tests_%:
	@echo $(BUILD)/tests_$* && $(BUILD)/tests_$*
# A make that a test starts is one of its own.
run-test_%:
	@echo tests/test_$*.sh $(BUILD) && MAKEFLAGS= tests/test_$*.sh $(BUILD)
RUN_SUITES = $(MAKE) -s --output-sync=target

test: deps
	@$(MAKE) -s -j$(JOBS) all $(BUILD)/tests_f32 $(BUILD)/tests_f64 $(BUILD)/faults.so $(BENCHMARKS) $(WITH_MPI)
	@$(RUN_SUITES) -j$(JOBS) suites

bits: deps
	tests/test_bits.sh $(BUILD)

FILES ?= $(wildcard tests/golden/*.safetensors)
golden: deps
	@$(MAKE) -s -j$(JOBS) $(BUILD)/golden_f64 $(BUILD)/golden_f32
	@status=0; for p in f64 f32; do $(BUILD)/golden_$$p $(FILES) || status=$$?; done; exit $$status

bench: deps
	@$(MAKE) -s -j$(JOBS) $(BENCHMARKS)

asan: deps
	@$(MAKE) -s -j$(JOBS) BUILD=$(BUILD)/asan OPTIMISE="-O1 -g -march=$(ARCH) -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer" asan-run
# Each product that is compared starts threads of its own. The kernel may have no more than 32,768 thread numbers: they are
# given out again, and LeakSanitizer confuses threads that had the same one.
asan-run coverage-run: export DT_PRODUCTS = 300
asan-run: export DT_SANITIZED = 1
asan-run: $(BUILD)/tests_f32 $(BUILD)/tests_f64 $(PROGRAMS:%=$(BUILD)/%)
	+@$(RUN_SUITES) run-tests_f64 run-tests_f32 $(CLI_SUITES:%=run-test_%)

# For the sanitizers' builds but make asan's.
CLANG ?= clang++
# g++'s OpenMP waits where ThreadSanitizer does not see it; clang's tells it all, through the library archer.
tsan: deps
	@echo 'int main() {}' | $(CLANG) -x c++ -fopenmp -fsanitize=thread - -o /dev/null 2>/dev/null || \
	  { echo "make tsan needs clang and its OpenMP: please install clang libomp-dev" >&2; exit 1; }
	@$(MAKE) -s -j$(JOBS) BUILD=$(BUILD)/tsan CXX="$(filter ccache,$(CXX)) $(CLANG)" OPTIMISE="-O1 -gline-tables-only -march=$(ARCH) -fsanitize=thread" $(BUILD)/tsan/tests_threads
	OMP_NUM_THREADS=4 TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" $(BUILD)/tsan/tests_threads
$(BUILD)/tests_threads: $(call f32,$(addprefix tests/,main.cpp test_threads.cpp test_graph_safety.cpp)) $(BUILD)/libdifftensor.a
	@echo "  link $@" && $(CXX) $(CXXFLAGS) $^ -o $@ $(LDLIBS)

browser: deps
	@$(MAKE) -s -j$(JOBS) $(BUILD)/translate
	tests/test_browser.sh $(BUILD)

# fuzz.cpp is part of each fuzzer.
FUZZERS  = $(filter-out fuzz,$(basename $(notdir $(wildcard tests/fuzz/*.cpp))))
# One build by clang++ for both: with sanitizers, with counters of which of the library's lines ran, and with what libFuzzer
# needs, but in what reads no bytes: the suites, and all that computes, which it would slow down.
fuzz coverage: deps
	@command -v $(lastword $(CLANG)) >/dev/null || { echo "make $@ needs clang and its libFuzzer: please install clang" >&2; exit 1; }
	@$(MAKE) -s -j$(JOBS) BUILD=$(BUILD)/fuzz CXX="$(CLANG)" OPTIMISE="-O1 -gline-tables-only -march=$(ARCH) \
	  -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fprofile-instr-generate -fcoverage-mapping \
	  -fprofile-list=tests/lint/coverage.txt" NOT_FUZZED=-fno-sanitize=fuzzer-no-link $@-run
fuzz-run: $(FUZZERS:%=$(BUILD)/fuzz_%)
	JOBS=$(JOBS) tests/fuzz/run.sh $(BUILD)
$(BUILD)/fuzz_%: $(BUILD)/f32/tests/fuzz/%.o $(BUILD)/f32/tests/fuzz/fuzz.o $(call f32,$(EXAMPLES)) $(BUILD)/libdifftensor.a
	@echo "  link $@" && $(CXX) $(CXXFLAGS) -fsanitize=fuzzer $^ -o $@ $(LDLIBS) $(shell pkg-config --libs sentencepiece)

# In float, in which everything trains and every file is tested; in two processes, for most tests have one thread.
# Fewer products and random cases than elsewhere: with counters and sanitizers each takes ten times as long.
# The leaks are clang's OpenMP's: it keeps a few blocks to the end.
ARITHMETIC = "*/property*,*/test_numerics*,*/test_bits*,*/test_kernels*,*/test_autograd*,*/test_gradcheck*"
run-arithmetic:
	$(BUILD)/tests_f32 -sf=$(ARITHMETIC)
run-the-rest:
	$(BUILD)/tests_f32 -sfe=$(ARITHMETIC)
coverage-run: export DT_PROPERTY_CASES = 20
coverage-run: export LSAN_OPTIONS = suppressions=tests/lint/lsan.txt:print_suppressions=0
coverage-run: export LLVM_PROFILE_FILE = $(abspath $(BUILD))/profiles/%m.profraw
coverage-run: $(BUILD)/tests_f32
	@command -v llvm-cov >/dev/null || { echo "make coverage: please install llvm" >&2; exit 1; }
	@rm -rf $(BUILD)/profiles
	+@$(RUN_SUITES) run-arithmetic run-the-rest
	llvm-profdata merge $(BUILD)/profiles/*.profraw -o $(BUILD)/tests.profdata
	@llvm-cov report $(BUILD)/tests_f32 -instr-profile $(BUILD)/tests.profdata \
	  -show-region-summary=0 -show-branch-summary=0 core nn optim models | awk '{ print } $$1 == "TOTAL" { lines = $$7 } \
	  END { if (lines + 0 < 97) { print "make coverage: " lines " of the lines, which is less than 97%"; exit 1 } }'

lint: deps
	@for tool in clang-tidy cppcheck; do command -v $$tool >/dev/null || { echo "make lint: please install $$tool" >&2; exit 1; }; done
	@$(MAKE) -s $(BUILD)/inspect.html.inc
	cppcheck -j$(JOBS) --std=c++20 --language=c++ --enable=warning,performance,portability --suppressions-list=tests/lint/cppcheck.txt \
	  --quiet --error-exitcode=1 -I. $(filter-out examples/tour,$(FOLDERS))
	JOBS=$(JOBS) CPPFLAGS="-std=c++20 -fopenmp -I. -I$(BUILD) $(shell pkg-config --cflags openblas nlohmann_json)" \
	  tests/lint/tidy.sh $(LIBRARY) $(TRAINING) $(PARTS)

# The library's sources as other compilers read them: all that are here, in both precisions, as C++20 and C++23, for
# CPUs from SSE4 to AVX-512. A folder's sources are read as one, for most of the time goes into headers.
COMPILERS = $(sort $(realpath $(foreach c,g++ $(addprefix g++-,11 12 13 14 15) clang++ $(addprefix clang++-,14 15 16 17 18 19 20 21 22),$(shell command -v $c))))
compilers: deps
	@for cxx in $(COMPILERS); do \
	  echo 'int main() { return omp_get_max_threads(); }' | $$cxx -x c++ -fopenmp -include omp.h -fsyntax-only - 2>/dev/null || \
	    { echo "$$($$cxx --version | head -n1): left out, for it has no omp.h"; continue; }; \
	  asked=1; for how in "-std=c++20 $(if $(X86),-march=x86-64-v2)" "-std=c++2b $(if $(X86),-march=x86-64-v4) -DDT_DOUBLE"; do \
	    printf '%s\n' $(sort $(dir $(LIBRARY))) | xargs -P$(JOBS) -I{} sh -c "printf '#include \"%s\"\n' {}*.cpp | \
	      $$cxx $$how $(WARNINGS) -Wno-deprecated-declarations -Werror -fopenmp -I. \
	      $(patsubst -I%,-isystem %,$(shell pkg-config --cflags openblas nlohmann_json)) -fsyntax-only -x c++ -" || exit 1; \
	    echo "$$($$cxx --version | head -n1), $$how: $(words $(LIBRARY)) sources, no warning"; \
	  done; done; [ -n "$$asked" ] || { echo "make compilers: no compiler here has omp.h" >&2; exit 1; }

MUTANTS ?= 320
mutants: deps
	tests/mutation/mutants.py --count $(MUTANTS) --workers $(JOBS) --build $(BUILD)/mutants

# --- Setting up ---------------------------------------------------------------------------------------------------
PACKAGES = $(if $(findstring clang,$(CXX)),clang libomp-dev,g++) pkg-config libopenblas-dev nlohmann-json3-dev libsentencepiece-dev libcli11-dev doctest-dev procps \
           $(if $(filter 1,$(MPI)),openmpi-bin libopenmpi-dev)
# Everything is there if this compiles.
PROBE = { printf '\#include <%s>\n' omp.h cblas.h nlohmann/json.hpp sentencepiece_trainer.h CLI/CLI.hpp doctest/doctest.h | \
        $(CXX) -x c++ -E $$(pkg-config --cflags openblas nlohmann_json sentencepiece) - && command -v pgrep \
        $(if $(filter 1,$(MPI)),&& pkg-config --exists ompi-c && command -v mpirun); } >/dev/null 2>&1
SUDO  = $(shell [ "$$(id -u)" = 0 ] || echo "sudo ")
deps:
	@if $(PROBE); then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then \
	  echo "This is not a Debian or Ubuntu system. Please install what these packages hold there, then try again:" >&2; \
	  echo "  $(PACKAGES)" >&2; exit 1; fi; \
	if [ -n "$(SUDO)" ] && ! command -v sudo >/dev/null; then \
	  echo "Packages are missing, and there is no sudo here. As root, run: apt-get install $(PACKAGES)" >&2; exit 1; fi; \
	echo "+ $(SUDO)apt-get update && $(SUDO)apt-get install -y --no-install-recommends $(PACKAGES)"; \
	$(SUDO)apt-get update -qq && \
	$(SUDO)env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null && \
	$(PROBE)

VERSION = 0.1.0
TO      = $(DESTDIR)$(PREFIX)
# The library in float and, as difftensor_f64, in double. A static library brings nothing along: whoever links it needs
# OpenBLAS too, so that is Requires, not Requires.private. The language's standard is the user's, C++20 or later.
install: $(BUILD)/libdifftensor.a $(BUILD)/libdifftensor_f64.a
	install -d $(TO)/lib/pkgconfig $(TO)/lib/cmake/difftensor
	install -m 644 $^ $(TO)/lib/
	for h in $(HEADERS); do install -D -m 644 $$h $(TO)/include/difftensor/$$h || exit 1; done
	{ echo '#pragma once'; printf '#include "%s"\n' $(filter-out core/kernels/%,$(HEADERS)); } > $(TO)/include/difftensor/difftensor.h
	for name in difftensor difftensor_f64; do printf '%s\n' 'prefix=$(PREFIX)' "Name: $$name" \
	  'Description: differentiable tensors and differential attention' 'Version: $(VERSION)' 'Requires: openblas' \
	  "Cflags: $$([ $$name = difftensor ] || echo '-DDT_DOUBLE ')-ffp-contract=off -fopenmp -I\$${prefix}/include -I\$${prefix}/include/difftensor" \
	  "Libs: -L\$${prefix}/lib -l$$name -fopenmp" > $(TO)/lib/pkgconfig/$$name.pc || exit 1; done
	install -m 644 core/difftensorConfig.cmake $(TO)/lib/cmake/difftensor/
	printf '%s\n' 'set(PACKAGE_VERSION $(VERSION))' 'if(NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)' \
	  '  set(PACKAGE_VERSION_COMPATIBLE TRUE)' 'endif()' > $(TO)/lib/cmake/difftensor/difftensorConfigVersion.cmake

# All that install wrote.
uninstall:
	rm -rf $(TO)/include/difftensor $(TO)/lib/cmake/difftensor
	rm -f $(foreach name,difftensor difftensor_f64,$(TO)/lib/lib$(name).a $(TO)/lib/pkgconfig/$(name).pc)

FOLDERS  = core core/ops core/kernels nn optim models examples/tour examples/layers examples/text examples/training examples/translate \
           examples/language_model examples/needle
# "a b" for every folder a with a file that includes one of folder b.
ARROWS   = grep -HoE '^\#include "($(subst $(eval ) ,|,$(FOLDERS)))/[a-z_0-9]+\.h' $(addsuffix /*.h,$(FOLDERS)) \
           $(addsuffix /*.cpp,$(FOLDERS)) 2>/dev/null | sed -E 's|/[^/:]*:\#include "| |; s|/[^/]*$$||' | \
           awk '$$1 != $$2' | LC_ALL=C sort -u
arrows:
	@$(ARROWS)
folders:
	@command -v dot >/dev/null || { echo "make folders draws with Graphviz: please install graphviz" >&2; exit 1; }
	{ echo 'digraph { rankdir=BT; ranksep=0.35; bgcolor=white; edge [color="#6b7280", arrowsize=0.7];'; \
	  echo 'node [shape=box, style="rounded,filled", fillcolor="#eef3fa", color="#2563b0", fontname="sans-serif", fontsize=12];'; \
	  for d in $(FOLDERS); do case $$d in examples/*) echo "\"$$d\" [fillcolor=\"#fdf1e9\", color=\"#d9661f\"];";; *) echo "\"$$d\";";; esac; done; \
	  $(ARROWS) | awk '{ printf "\"%s\" -> \"%s\";\n", $$1, $$2 }'; echo '}'; } | dot -Tsvg >core/folders.svg

loc:
	@for d in $(FOLDERS) tests tests/bench; do \
	  printf '%-18s %6d lines\n' $$d $$(cat $$d/*.h $$d/*.cpp 2>/dev/null | wc -l); done
	@printf 'the library: %d lines (core + nn + optim + models)\n' $$(cat $(LIBRARY) $(HEADERS) | wc -l)

clean:
	rm -rf $(BUILD)

.PHONY: all help demo tour test suites lint coverage browser fuzz fuzz-run coverage-run run-arithmetic run-the-rest compilers mutants bits golden bench tsan asan asan-run deps install uninstall arrows folders loc clean
.PRECIOUS: $(BUILD)/f32/%.o $(BUILD)/f64/%.o
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
