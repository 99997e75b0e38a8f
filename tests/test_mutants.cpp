// Small faults that no other suite noticed: see tests/mutation/README.md.
#include <fcntl.h>
#include <omp.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <limits>
#include <numbers>
#include <optional>
#include <set>
#include <sstream>
#include <thread>

#include "core/autograd.h"
#include "core/files.h"
#include "core/kernels/gemm.h"
#include "core/kernels/parallel.h"
#include "core/ops.h"
#include "core/parallel_backward.h"
#include "models/language_model.h"
#include "models/transformer.h"
#include "nn/diff_attention.h"
#include "nn/dropout.h"
#include "optim/schedule.h"
#include "tests/testing.h"

using namespace difftensor;

namespace {
std::string text(const Tensor& t) {
  std::ostringstream out;
  out << t;
  return out.str();
}
Tensor counted(const Shape& shape) {
  Tensor t(shape);
  for (int64_t i = 0; i < t.numel(); ++i) t.data()[i] = Scalar(i);
  return t;
}
}  // namespace

TEST_CASE("long axes print three numbers at each end") {
  CHECK(text(counted({3})) == "[       0        1        2] shape (3,)");
  CHECK(text(counted({8})) == "[       0        1        2 ...        5        6        7] shape (8,)");
  CHECK(!contains(text(counted({7})), "..."));
  CHECK(text(counted({8, 2})) ==
        "[[       0        1]\n [       2        3]\n [       4        5]\n ...\n [      10       11]\n"
        " [      12       13]\n [      14       15]] shape (8, 2)");
  CHECK(text(counted({2, 2, 1})) == "[[[       0]\n  [       1]]\n [[       2]\n  [       3]]] shape (2, 2, 1)");
  CHECK(text(scalar(Scalar(1) / 3)) == "  0.3333 shape ()");
}

TEST_CASE("the largest elements share the gradient of max, each the same part") {
  Tensor x = tensor({1, 3, 3, 4, 2, 4, 4, 4}, {2, 4}).requires_grad();
  sum(max(x, {1}) * tensor({6, 9}, {2})).backward();
  CHECK(x.grad().values() == std::vector<Scalar>{0, 0, 0, 6, 0, 3, 3, 3});
  Tensor a = tensor({1, 2, 3}, {3}).requires_grad(), b = tensor({2, 2, 2}, {3}).requires_grad();
  sum(maximum(a, b)).backward();
  CHECK(a.grad().values() == std::vector<Scalar>{0, 0.5, 1});
  CHECK(b.grad().values() == std::vector<Scalar>{1, 0.5, 0});
}

TEST_CASE("sizes at the edge of what a size_t can count are refused, not wrapped") {
  constexpr auto all = static_cast<int64_t>(std::numeric_limits<size_t>::max() / sizeof(Scalar));
  for (int64_t less : {0, 1, 7, 8, 15, 16, 17, 100}) CHECK_THROWS_AS(Storage(all - less), std::bad_alloc);
}

TEST_CASE("parallel_backward leaves its caller as it was, also when a part throws") {
  const Tensor w = tensor({2}, {1}).requires_grad();
  for (int threads : {1, 3})
    for (bool record : {true, false})
      for (bool fails : {true, false}) {
        CAPTURE(threads);
        CAPTURE(record);
        CAPTURE(fails);
        const Threads some(threads);
        manual_seed(3);
        w.zero_grad();
        std::optional<NoGrad> no_grad;
        if (!record) no_grad.emplace();
        const auto run = [&] {
          parallel_backward(5, [&](int64_t i) {
            manual_seed(4, static_cast<uint64_t>(i));
            if (grad_enabled() != record) throw std::logic_error("another scope than the caller's");
            if (fails && i >= 2) throw std::runtime_error("part " + std::to_string(i));
            if (record) (w * w).backward();
          });
        };
        CHECK(error_of(run) == (fails ? "part 2" : "no error"));  // the first that fails, whichever ended first
        CHECK(grad_enabled() == record);
        CHECK(!detects_anomaly());
        CHECK(default_random().bits() == Random(3).bits());
        CHECK(w.grad().defined() == (record && !fails));
        if (w.grad().defined()) CHECK(w.grad().item() == 5 * 4);
        no_grad.reset();
        w.zero_grad();
        (w * w).backward();  // to the parameter itself, no longer to a part's gradients
        CHECK(w.grad().item() == 4);
        CHECK(error_of(run) != "parallel_backward: is running already, around this call");
      }
}

TEST_CASE("products too long and wide for panels, which OpenBLAS computes") {
  constexpr int64_t M = 3, N = 520, K = 260;
  for (bool ta : {false, true})
    for (bool tb : {false, true})
      for (bool add : {false, true}) {
        Random random(1);
        const Tensor a = randn({M, K}, random), b = randn({K, N}, random), before = randn({M, N}, random);
        Tensor c = before.clone();
        const Tensor A = ta ? transpose(a, 0, 1) : a, B = tb ? transpose(b, 0, 1) : b;
        kernels::gemm(ta, tb, M, N, K, A.data(), ta ? M : K, B.data(), tb ? K : N, add, c.data(), N);
        double worst = 0;
        for (int64_t i = 0; i < M; ++i)
          for (int64_t j = 0; j < N; ++j) {
            double sum = add ? static_cast<double>(before.data()[i * N + j]) : 0;
            for (int64_t k = 0; k < K; ++k)
              sum += static_cast<double>(a.data()[i * K + k]) * static_cast<double>(b.data()[k * N + j]);
            worst = worse(worst, std::abs(static_cast<double>(c.data()[i * N + j]) - sum));
          }
        CHECK(worst < 10 * rounding);
      }
}

TEST_CASE("a tensor that is two inputs of attention gets both gradients") {
  Random random(2);
  const Tensor a = randn({4, 6}, random), b = randn({4, 6}, random);
  for (int same = 0; same < 4; ++same) {  // q = k, k = v, q = v, all three
    CAPTURE(same);
    const auto gradients = [&](bool one) {
      Tensor x = a.clone().requires_grad(), y = one ? x : a.clone().requires_grad();
      Tensor z = same == 3 ? (one ? x : a.clone().requires_grad()) : b.clone().requires_grad();
      const Tensor &q = same == 1 ? z : x, &k = same == 1 ? x : same == 2 ? z : y, &v = same % 3 == 0 ? z : y;
      const Tensor out = attention(q, k, v, {2, packed_spans({1, 3}), packed_spans({1, 3}), false});
      sum(out * out).backward();
      if (one) return std::vector{x.grad(), same == 3 ? x.grad() : z.grad()};
      const Tensor both = x.grad() + y.grad();
      return same == 3 ? std::vector{both + z.grad(), both + z.grad()} : std::vector{both, z.grad()};
    };
    const auto together = gradients(true), apart = gradients(false);
    CHECK(largest_difference(together[0], apart[0]) < 10 * rounding);
    CHECK(largest_difference(together[1], apart[1]) < 10 * rounding);
  }
}

TEST_CASE("sentences may lie in any order") {
  Random random(3);
  const Tensor x = randn({5, 4}, random);
  const Tensor there = attention(x, x, x, {1, {{0, 2}, {2, 3}}, {{0, 2}, {2, 3}}, true});
  const Tensor back = attention(x, x, x, {1, {{2, 3}, {0, 2}}, {{2, 3}, {0, 2}}, true});
  CHECK(largest_difference(there, back) == 0);
  CHECK(contains(error_of([&] { attention(x, x, x, {1, {{2, 3}, {0, 3}}, {{2, 3}, {0, 2}}, true}); }), "overlap"));
}

TEST_CASE("empty sentences overlap nothing") {
  for (const int64_t sentences : {3, 16, 17, 20, 60}) {
    CAPTURE(sentences);
    Random random(static_cast<uint64_t>(sentences));
    std::vector<int64_t> lengths;
    for (int64_t i = 0; i < sentences; ++i) lengths.push_back(i % 3 == 1 ? 0 : 1 + i % 4);
    const Spans spans = packed_spans(lengths);
    const int64_t rows = spans.back().begin + spans.back().length;
    const Tensor values = randn({rows, 4}, random);
    std::vector<Tensor> results;
    for (const bool fused : {true, false}) {
      const Tensor x = values.clone().requires_grad();
      const Tensor y =
          fused ? attention(x, x, x, {1, spans, spans, true}) : plain_attention(x, x, x, {1, spans, spans, true});
      sum(y * y).backward();
      results.push_back(y), results.push_back(x.grad());
    }
    CHECK(largest_difference(results[0], results[2]) < 20 * rounding);
    CHECK(largest_difference(results[1], results[3]) < 100 * rounding);
  }
  const Tensor x = ones({4, 4}).requires_grad();  // in the midst of another, an empty one shares no row with it
  CHECK(error_of([&] { attention(x, x, x, {1, {{0, 4}, {2, 0}}, {{0, 4}, {2, 0}}, false}); }) == "no error");
}

TEST_CASE("values and gradients that the difference quotients of gradcheck do not see") {
  // a mask for whole rows
  CHECK(masked_fill(tensor({1, 2, 3, 4, 5, 6}, {2, 3}), tensor({0, 1}, {2, 1}), 9).values() ==
        std::vector<Scalar>{1, 2, 3, 9, 9, 9});
  // 0^b is 0 for every b > 0, and 1 for b = 0: it has no slope
  Tensor b = tensor({0, 0.5, 1, 2}, {4}).requires_grad();
  sum(pow(zeros({4}), b) * tensor({3, 4, 5, 6}, {4})).backward();
  CHECK(b.grad().values() == std::vector<Scalar>(4, 0));
  CHECK(contains(error_of([] { cross_entropy(zeros({2, 3}), {-100, -100}); }), "no targets to average over"));
}

TEST_CASE("a folder that may be written to, but not read, takes a file all the same") {
  TemporaryFolder folder;
  const std::string path = folder / "file";
  REQUIRE(chmod(folder.path.c_str(), 0333) == 0);
  const pid_t child = fork();  // root may read everything: as somebody else, then
  if (child == 0) {
    if (geteuid() == 0 && setuid(65534) != 0) _exit(2);
    _exit(error_of([&] { write_atomically(path, {"content"}); }) == "no error" ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  REQUIRE(chmod(folder.path.c_str(), 0700) == 0);
  CHECK(read_bytes(path) == "content");
}

TEST_CASE("a read that a signal interrupts is made again") {
  TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  std::thread writer([&] {
    pthread_sigmask(SIG_BLOCK, &alarm, nullptr);  // the reader is to get it
    const File out(pipe, O_WRONLY, "cannot open");
    usleep(50'000);
    write_all(out.descriptor(), "late", "cannot write");
  });
  struct sigaction interrupt = {}, before;
  interrupt.sa_handler = [](int) {};  // and no SA_RESTART
  sigaction(SIGALRM, &interrupt, &before);
  const itimerval often{{0, 2'000}, {0, 2'000}}, never{};
  setitimer(ITIMER_REAL, &often, nullptr);
  std::string read;
  const std::string error = error_of([&] { read = read_bytes(pipe); });
  setitimer(ITIMER_REAL, &never, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  CHECK(error == "no error");
  CHECK(read == "late");
  if (error != "no error") std::thread([&] { read_bytes(pipe); }).detach();  // lets the writer end
  writer.join();
}

TEST_CASE("graphviz draws what is used twice once, numbers from the leaves on, and leaves out what needs no gradient") {
  const Tensor y = ones({2}).requires_grad() * tensor({3, 4}, {2});
  const std::string picture = graphviz(sum(y * y));
  CHECK(picture.substr(picture.find("\n  n1")) ==
        "\n  n1 [label=\"leaf\\n(2,)\", style=filled];\n  n2 [label=\"mul\\n(2,)\"];\n  n1 -> n2;"
        "\n  n3 [label=\"mul\\n(2,)\"];\n  n2 -> n3;\n  n2 -> n3;\n  n4 [label=\"sum\\n()\"];\n  n3 -> n4;\n}\n");
}

TEST_CASE("a schedule without warmup begins at its peak") { CHECK(optim::cosine(2, 0, 10)(0) == 2); }

TEST_CASE("a model in evaluation mode drops nothing, and one in training does") {
  models::TransformerConfig config;
  config.vocab = 20, config.d_model = 16, config.heads = 2, config.ff = 24;
  config.encoder_layers = config.decoder_layers = 1;
  std::vector<Tensor> logits;
  for (const Scalar dropout : {Scalar(0), Scalar(0.5)})
    for (const bool training : {false, true}) {
      Random random(1);
      config.dropout = dropout;
      models::Transformer model(config, random);
      training ? model.train() : model.eval();
      logits.push_back(model({5, 6, 2}, {3}, {1, 7}, {2}));
    }
  CHECK(logits[1].values() == logits[0].values());
  CHECK(logits[2].values() == logits[0].values());
  CHECK(largest_difference(logits[3], logits[0]) > 0.01);
}

TEST_CASE("a model of the default sizes can be made") {
  models::TransformerConfig config;
  config.vocab = 20;
  Random random(1);
  CHECK(models::Transformer(config, random).config.d_model % config.heads == 0);
}

TEST_CASE("the vectors of lambda begin as 0.1 times standard normal numbers") {
  Random random(1), same(1);
  const nn::MultiheadDiffAttention layer({16, 2, false, 0}, random);
  uint64_t drawn = 0;
  const uint64_t next = Random(random).bits();
  for (Random all(1); all.bits() != next;) ++drawn;
  same.skip(drawn - uint64_t{4 * 4 * 2});  // the last four vectors of four; a normal number takes two draws
  for (const Tensor& vector : {layer.lambda_q1, layer.lambda_k1, layer.lambda_q2, layer.lambda_k2})
    for (const Scalar x : vector.values()) CHECK(x == Scalar(0.1) * same.normal());
}

TEST_CASE("a dropout of everything, or of less than nothing, is refused") {
  CHECK_NOTHROW(nn::Dropout(0));
  CHECK_THROWS_AS(nn::Dropout(1), std::invalid_argument);
  CHECK_THROWS_AS(nn::Dropout(Scalar(-0.01)), std::invalid_argument);
}

TEST_CASE("a normal number is Box and Muller's function of two draws") {
  Random random(1), same(1);
  for (int i = 0; i < 100; ++i) {
    const double u = std::ldexp(static_cast<double>((same.bits() >> 11) + 1), -53);
    const double v = std::ldexp(static_cast<double>(same.bits() >> 11), -53);
    CHECK(random.normal() ==
          doctest::Approx(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v)).epsilon(1e-6));
  }
}

TEST_CASE("a loop is cut into one piece, or four, or eight, none longer than the grain; nothing is no piece") {
  for (const int64_t n : {0, 1, 50, 100, 101, 399, 400, 401, 800, 801, 100000}) {
    std::atomic<int64_t> pieces = 0, covered = 0, longest = 0;
    parallel_for(n, 100, [&](int64_t begin, int64_t end) {
      ++pieces, covered += end - begin;
      for (int64_t before = longest; end - begin > before && !longest.compare_exchange_weak(before, end - begin);) {
      }
    });
    CAPTURE(n);
    CHECK(covered == n);
    CHECK(pieces == (n == 0 ? 0 : n <= 100 ? 1 : 4 * ((n + 399) / 400)));
    CHECK(longest <= 100 + 15);  // borders lie at multiples of 16
  }
}

TEST_CASE("a long loop is shared out to all threads, but not within another") {
  const Threads three(3);
  std::vector<int> thread_of(30000, -1);
  const auto run = [&] {
    parallel_for(30000, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) thread_of[i] = omp_get_thread_num();
    });
    return std::set<int>(thread_of.begin(), thread_of.end());
  };
  CHECK(run() == std::set<int>{0, 1, 2});
#pragma omp parallel
#pragma omp single
  CHECK(run() == std::set<int>{omp_get_thread_num()});
}

TEST_CASE("a loop over several arrays visits every element once") {
  const std::vector<int64_t> sizes{0, 5, 0, 100000, 1, 9000, 0};
  for (int threads : {1, 3}) {
    const Threads some(threads);
    std::vector<std::vector<int>> visits;
    for (const int64_t size : sizes) visits.emplace_back(size);
    parallel_for(sizes, [&](size_t i, int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) ++visits[i].at(k);
    });
    for (size_t i = 0; i < sizes.size(); ++i) CHECK(visits[i] == std::vector<int>(sizes[i], 1));
  }
}

TEST_CASE("axes are none, if none are named") { CHECK(Axes().empty()); }

TEST_CASE("a model may know one word, and is of the documented shape if none is asked for") {
  Random random(1);
  models::TransformerConfig translator;
  CHECK(translator.vocab == 8000);
  CHECK(translator.encoder_layers == 4);
  CHECK(translator.decoder_layers == 4);
  translator.vocab = 1;
  CHECK_NOTHROW(models::Transformer(translator, random));
  translator.vocab = 0;
  CHECK(contains(error_of([&] { models::Transformer(translator, random); }), "vocabulary 0 must be positive"));

  models::LanguageModelConfig writer;
  CHECK(writer.vocab == 256);
  CHECK(writer.layers == 4);
  CHECK(writer.tied_output);
  writer.vocab = 1;
  CHECK_NOTHROW(models::LanguageModel(writer, random));
}

TEST_CASE("diff-v2 splits the width among its heads once, not once for each map") {
  Random random(1);
  nn::MultiheadDiffAttentionV2 attention({.width = 6, .heads = 2}, random);
  CHECK(attention.head_width == 3);
  CHECK(attention.q_proj.weight.shape() == Shape{12, 6});
}

TEST_CASE("chunks are of the first axis, windows side by side, unless another way is asked for") {
  const Tensor x = tensor({1, 2, 3, 4, 5, 6, 7, 8, 9}, {3, 3});
  CHECK(chunk(x, 3)[1].shape() == Shape{1, 3});
  CHECK(largest_difference(chunk(x, 3)[1], tensor({4, 5, 6}, {1, 3})) == 0);
  // Four windows of 2 x 2, a column each: their upper left corners are the first row.
  const Tensor columns = unfold(reshape(x, {1, 1, 3, 3}), {2, 2});
  CHECK(columns.shape() == Shape{1, 4, 4});
  CHECK(largest_difference(slice(columns, 1, 0, 1), tensor({1, 2, 4, 5}, {1, 1, 4})) == 0);
}
