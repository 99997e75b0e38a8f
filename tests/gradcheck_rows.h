#pragma once
// What gradcheck is asked of each op.
#include <functional>
#include <string>
#include <vector>

#include "core/ops.h"

/// The signs of a row's inputs: random, or plus where the op asks for it.
enum Sign { Any, Plus };

struct Row {
  std::string name;  ///< the op's, then what is special
  std::function<difftensor::Tensor(const std::vector<difftensor::Tensor>&)> f;
  std::vector<difftensor::Shape> shapes;
  Sign sign = Any;
};
std::vector<Row> all_rows();
