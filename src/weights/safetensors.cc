// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace braid::weights {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kLongestHeader = 100'000'000;

std::optional<DType> dtype_of(const std::string& name) {
  if (name == "F32") return DType::kF32;
  if (name == "BF16") return DType::kBF16;
  if (name == "F16") return DType::kF16;
  if (name == "F8_E4M3") return DType::kF8E4M3;
  if (name == "I8") return DType::kI8;
  if (name == "U8") return DType::kU8;
  if (name == "I32") return DType::kI32;
  if (name == "I64") return DType::kI64;
  return std::nullopt;
}

Error wrong(const std::string& path, const std::string& what) { return invalid_argument(path + ": " + what); }

// Bytes of a tensor, or nothing when a dimension is negative or the product overflows.
std::optional<std::size_t> bytes_of(DType dtype, const Json& shape) {
  std::size_t total = size_of(dtype);
  for (const auto& d : shape) {
    if (!d.is_number_unsigned()) return std::nullopt;
    if (__builtin_mul_overflow(total, d.get<std::uint64_t>(), &total)) return std::nullopt;
  }
  return total;
}

Result<Entry> parse_entry(const std::string& name, const Json& json, std::size_t data_begin,
                          std::size_t file_size, const std::string& path) {
  const std::string tensor = "tensor " + name + ": ";
  if (!json.is_object() || !json.contains("dtype") || !json["dtype"].is_string() || !json.contains("shape") ||
      !json["shape"].is_array() || !json.contains("data_offsets") || !json["data_offsets"].is_array() ||
      json["data_offsets"].size() != 2) {
    return wrong(path, tensor + "expected {dtype, shape, data_offsets: [begin, end]}");
  }
  const auto dtype = dtype_of(json["dtype"].get<std::string>());
  if (!dtype) return wrong(path, tensor + "unknown dtype '" + json["dtype"].get<std::string>() + "'");
  if (json["shape"].size() > 8) return wrong(path, tensor + "more than 8 dimensions");
  const auto bytes = bytes_of(*dtype, json["shape"]);
  const Json& offsets = json["data_offsets"];
  if (!bytes || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    return wrong(path, tensor + "shape or offsets are no natural numbers of a possible size");
  }
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (end < begin || end > file_size - data_begin) {
    return wrong(path, tensor + "bytes [" + std::to_string(begin) + ", " + std::to_string(end) +
                           ") lie outside the file's " + std::to_string(file_size - data_begin) +
                           " bytes of data (is the file truncated?)");
  }
  if (end - begin != *bytes) {
    return wrong(path, tensor + "expected " + std::to_string(*bytes) + " bytes for its shape, found " +
                           std::to_string(end - begin));
  }
  Entry entry{name, *dtype, {}, data_begin + begin, data_begin + end};
  for (const auto& d : json["shape"]) entry.shape.push_back(d.get<std::int64_t>());
  return entry;
}

// The header's JSON; duplicate names are an error, which the parser reports through `duplicate`.
Json parse_json(std::string_view text, std::string& duplicate) {
  std::vector<std::string> names;
  auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::key && depth == 1) names.push_back(parsed.get<std::string>());
    return depth < 8;
  };
  Json header = Json::parse(text.begin(), text.end(), watch, false);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) duplicate = *twice;
  return header;
}

Status check_overlaps(std::vector<Entry> entries, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < entries.size(); ++i) {
    if (entries[i].begin < entries[i - 1].end) {
      return wrong(path, "tensors " + entries[i - 1].name + " and " + entries[i].name + " overlap");
    }
  }
  return {};
}

}  // namespace

Result<std::vector<Entry>> parse_safetensors(std::string_view file, const std::string& path) {
  std::uint64_t length = 0;
  if (file.size() < 8) return wrong(path, "expected a safetensors file, found " + std::to_string(file.size()) + " bytes");
  std::memcpy(&length, file.data(), 8);
  if (length > kLongestHeader || length > file.size() - 8) {
    return wrong(path, "header of " + std::to_string(length) + " bytes does not fit the file's " +
                           std::to_string(file.size()) + " (truncated, or no safetensors file)");
  }
  std::string duplicate;
  const Json header = parse_json(file.substr(8, length), duplicate);
  if (!header.is_object()) return wrong(path, "the header is not a JSON object");
  if (!duplicate.empty()) return wrong(path, "tensor " + duplicate + " occurs twice in the header");
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.items()) {
    if (name == "__metadata__") continue;
    ASSIGN_OR_RETURN(Entry entry, parse_entry(name, json, 8 + length, file.size(), path));
    entries.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(check_overlaps(entries, path));
  return entries;
}

Result<std::shared_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error{ErrorCode::kNotFound, "can't open " + path + ": " + std::strerror(errno), {}};
  struct stat info {};
  const bool known = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const auto size = known ? static_cast<std::size_t>(info.st_size) : 0;
  void* data = size > 0 ? mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0) : nullptr;
  const int error = errno;
  ::close(fd);
  if (!known) return invalid_argument(path + " is not a regular file");
  if (data == MAP_FAILED) return internal_error("can't map " + path + ": " + std::strerror(error));
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<const char*>(data), size));
}

MappedFile::~MappedFile() {
  if (size_ > 0) munmap(const_cast<char*>(data_), size_);
}

void MappedFile::forget(std::size_t begin, std::size_t end) const {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  if (begin < end) madvise(const_cast<char*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace braid::weights
