#include "core/anomaly.h"

#include <cmath>
#include <string_view>
#include <utility>

#include "core/autograd.h"

namespace difftensor::inline DT_PRECISION {
namespace {
thread_local bool enabled = false;

void check(const char* op, const char* where, const Shape& shape, const Storage& values) {
  if (std::all_of(values.data(), values.data() + values.size(), [](Scalar x) { return std::isfinite(x); })) return;
  std::ostringstream text;
  text << op << ": NaN or infinity in " << where << " of shape " << shape;
  throw std::runtime_error(text.str());
}
}  // namespace

DetectAnomaly::DetectAnomaly() : previous_(std::exchange(enabled, true)) {}
DetectAnomaly::~DetectAnomaly() { enabled = previous_; }
bool detects_anomaly() { return enabled; }

void detail::check_result(const char* op, const Tensor& out) {
  if (enabled && op != std::string_view("masked_fill")) check(op, "its result", out.shape(), out.storage());
}

void detail::check_input_gradients(const Node& node) {
  if (!enabled) return;
  for (auto& input : node.inputs)
    if (input) check(node.op, "the gradient of its input", input->shape, input->gradient_slot());
}

}  // namespace difftensor::inline DT_PRECISION
