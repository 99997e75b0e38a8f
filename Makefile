# difftensor. `make demo` sets up, builds, trains and shows; `make test` proves. `make help` lists the rest.
CXX      ?= g++
# -march=native: the library is built for the machine it runs on. No -ffast-math: NaN and infinity keep their meaning.
OPTIMISE ?= -O3 -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math
WARNINGS  = -Wall -Wextra -Wpedantic
# Recursively expanded, so that pkg-config is asked only once `deps` has run.
CXXFLAGS  = -std=c++20 $(OPTIMISE) $(WARNINGS) -fopenmp -I. -MMD -MP
BLAS_CFLAGS = $(shell pkg-config --cflags openblas nlohmann_json)
LIBS      = $(shell pkg-config --libs openblas)
