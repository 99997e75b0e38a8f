#include "core/crc32.h"

#include <array>
#include <bit>
#include <cstring>

namespace difftensor::inline DT_PRECISION {
namespace {

// Bytes that are divided at once.
constexpr size_t slices = 16;

// table[k][b] is the remainder of byte b followed by k zero bytes. Division is linear, so the remainder of 16 bytes is
// the exclusive or of 16 entries, which do not wait for one another: "slicing" (Kounavis and Berry, A Systematic
// Approach to Building High Performance Software-based CRC Generators, 2005), 2 to 4 GB/s on one core, on any CPU.
using Table = std::array<std::array<uint32_t, 256>, slices>;
constexpr Table make_table() {
  Table table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t remainder = byte;
    // The polynomial 0x04c11db7 with its bits in reverse order: the lowest bit of a byte comes first.
    for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? 0xedb88320 : 0);
    table[0][byte] = remainder;
  }
  for (size_t k = 1; k < slices; ++k)
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t shorter = table[k - 1][byte];
      table[k][byte] = shorter >> 8 ^ table[0][shorter & 255];
    }
  return table;
}
constexpr Table table = make_table();
static_assert(std::endian::native == std::endian::little, "the remainder meets the first four bytes of a block");

}  // namespace

uint32_t crc32(std::string_view bytes, uint32_t before) {
  uint32_t remainder = ~before;
  for (; bytes.size() >= slices; bytes.remove_prefix(slices)) {
    std::array<unsigned char, slices> block;
    std::memcpy(block.data(), bytes.data(), slices);
    uint32_t first;
    std::memcpy(&first, block.data(), sizeof(first));
    first ^= remainder;
    std::memcpy(block.data(), &first, sizeof(first));
    remainder = 0;
    for (size_t i = 0; i < slices; ++i) remainder ^= table[slices - 1 - i][block[i]];
  }
  for (const char byte : bytes) remainder = remainder >> 8 ^ table[0][(remainder ^ static_cast<unsigned char>(byte)) & 255];
  return ~remainder;
}

}  // namespace difftensor::inline DT_PRECISION
