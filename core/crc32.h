#pragma once
#include <cstdint>
#include <string_view>

#include "core/base.h"

namespace difftensor::inline DT_PRECISION {

/// CRC-32, the checksum of zip, PNG and Ethernet (IEEE 802.3; Python's zlib.crc32): the remainder of the bytes, as a
/// polynomial over bits, divided by x^32 + x^26 + x^23 + ... + 1. It differs for sure after one or two flipped bits (in
/// up to 500 MB), after three (in up to 11 kB) and after any damage within 32 bits; after any other but for one time in
/// 2^32. It keeps nobody off who wants to cheat. The checksum of a then b is crc32(b, crc32(a)).
uint32_t crc32(std::string_view bytes, uint32_t before = 0);

}  // namespace difftensor::inline DT_PRECISION
