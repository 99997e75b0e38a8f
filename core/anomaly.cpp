#include "core/anomaly.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {
namespace {
thread_local bool enabled = false;

template <class Allowed>
bool all(const Storage& values, Allowed allowed) {
  return std::all_of(values.data(), values.data() + values.size(), allowed);
}
bool is_finite(Scalar x) { return std::isfinite(x); }
bool is_number(Scalar x) { return !std::isnan(x); }  // infinity is one

[[noreturn]] void report(const char* op, const char* where, const Shape& shape) {
  std::ostringstream text;
  text << op << ": NaN or infinity in " << where << " of shape " << shape;
  throw std::runtime_error(text.str());
}
}  // namespace

DetectAnomaly::DetectAnomaly() : previous_(std::exchange(enabled, true)) {}
DetectAnomaly::~DetectAnomaly() { enabled = previous_; }
bool detects_anomaly() { return enabled; }

void detail::check_result(const char* op, const Tensor& out,
                          std::span<const std::reference_wrapper<const Tensor>> inputs) {
  if (!enabled || all(out.storage(), is_finite)) return;
  const bool infinite_before =
      op == std::string_view("masked_fill") || std::any_of(inputs.begin(), inputs.end(), [](const Tensor& input) {
        return input.defined() && !all(input.storage(), is_finite);
      });
  if (!infinite_before || !all(out.storage(), is_number)) report(op, "its result", out.shape());
}

void detail::check_input_gradients(const Node& node) {
  if (!enabled) return;
  for (auto& input : node.inputs)
    if (input && !all(input->gradient_slot(), is_finite)) report(node.op, "the gradient of its input", input->shape);
}

}  // namespace difftensor::inline DT_PRECISION
