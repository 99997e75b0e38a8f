#pragma once
// Reading and writing safetensors files (huggingface.co/docs/safetensors):
//
//   8 bytes            length of the header, little-endian
//   header             JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
//                             "__metadata__": {"any": "strings"}}
//   data               the tensors' bytes, row-major, little-endian, without gaps; offsets count from here
//
// The metadata that is written here has a checksum of the file: "crc32": 8 hexadecimal digits, of all bytes of header
// and data, where zeros stand for these digits. A file that has one is checked against it when it is read.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace difftensor::inline DT_PRECISION {

/// Whole numbers, such as token ids: kept as they are, no Tensor.
struct Integers {
  std::vector<int64_t> values;  ///< row-major
  Shape shape;
  std::string dtype = "I64";  ///< or "I32": of the file
  bool operator==(const Integers&) const = default;
};

/// What such a file holds. Names are UTF-8; what is not, in metadata, is written as U+FFFD.
struct SafeTensors {
  std::map<std::string, Tensor> tensors = {};  ///< F32 and F64; written as what Scalar is
  std::map<std::string, Integers> integers = {};
  std::map<std::string, std::string> metadata = {};
};

/// Throws std::runtime_error naming the file and what is wrong with it.
SafeTensors load_safetensors(const std::string& path);

/// Writes the file by write_atomically (core/files.h). Throws what that throws, and std::invalid_argument for a name that
/// is not UTF-8 or is there twice, and for integers that do not fit their shape or dtype.
void save_safetensors(const std::string& path, const SafeTensors& content);

}  // namespace difftensor::inline DT_PRECISION
