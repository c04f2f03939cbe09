// SPDX-License-Identifier: Apache-2.0
// The safetensors format: file := u64 little-endian header length, JSON header, data.
// header := {"name": {"dtype": "BF16", "shape": [..], "data_offsets": [begin, end]}, ...}, offsets
// relative to the data. An entry is accepted only if its bytes lie in the file, are as many as
// dtype and shape ask for, and overlap no other entry.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace braid::weights {

struct Entry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::size_t begin = 0;  // from the start of the file
  std::size_t end = 0;
};

// `path` is for messages only.
Result<std::vector<Entry>> parse_safetensors(std::string_view file, const std::string& path);

// A read-only memory-mapped file. Thread safety: const methods from any thread.
class MappedFile {
 public:
  static Result<std::shared_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::string_view bytes() const { return {data_, size_}; }
  // Lets the pages that lie wholly inside [begin, end) go; they are read again when touched.
  void forget(std::size_t begin, std::size_t end) const;

 private:
  MappedFile(const char* data, std::size_t size) : data_(data), size_(size) {}

  const char* data_;
  std::size_t size_;
};

}  // namespace braid::weights
