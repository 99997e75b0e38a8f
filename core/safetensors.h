#pragma once
// Reading and writing safetensors files (huggingface.co/docs/safetensors):
//
//   8 bytes            length of the header, little-endian
//   header             JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
//                             "__metadata__": {"any": "strings"}}
//   data               the tensors' bytes, row-major, little-endian, without gaps; offsets count from here
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// What such a file holds.
struct SafeTensors {
  std::map<std::string, Tensor> tensors;                 ///< F32 and F64; written as what Scalar is
  std::map<std::string, std::vector<int64_t>> integers;  ///< I32 and I64 of any shape, read flat; written as I64
  std::map<std::string, std::string> metadata;
};

/// Throws std::runtime_error naming the file and what is wrong with it.
SafeTensors load_safetensors(const std::string& path);

/// Writes `path`.tmp and renames it when it is safely on disk: a full disk, a crash or a kill leaves an earlier file as
/// it was. Throws std::runtime_error naming the file and the system's reason.
void save_safetensors(const std::string& path, const SafeTensors& content);

}  // namespace difftensor::inline DT_PRECISION
