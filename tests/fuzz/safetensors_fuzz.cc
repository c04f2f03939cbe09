// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: an error, or entries that lie inside it.
#include "require.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view file(reinterpret_cast<const char*>(data), size);
  const auto entries = braid::weights::parse_safetensors(file, "fuzz.safetensors");
  if (!entries.ok()) return 0;
  for (const auto& entry : *entries) require(entry.begin <= entry.end && entry.end <= size, "an entry lies in the file");
  return 0;
}
