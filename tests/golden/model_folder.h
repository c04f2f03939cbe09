// SPDX-License-Identifier: Apache-2.0
// Model folders that a test writes: safetensors files taken apart and put together, and a copy of a small
// model in a folder of its own.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace braid {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

inline std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(text).str();
}

struct Tensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

inline Tensors tensors_of(const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  Tensors tensors;
  const Json header = Json::parse(file.substr(8, length));
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    tensors[name] = {entry["dtype"], entry["shape"], file.substr(8 + length + begin, end - begin)};
  }
  return tensors;
}

inline std::string file_of(const Tensors& tensors, std::size_t alignment = 8) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, t] : tensors) {
    header[name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {data.size(), data.size() + t.bytes.size()}}};
    data += t.bytes;
  }
  std::string text = header.dump();
  while (text.size() % 8 != alignment % 8) text += ' ';
  const std::uint64_t length = text.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + text + data;
}

// A copy of a small model in a folder of its own.
class Folder {
 public:
  Folder(const fs::path& from, const std::string& name) : path_(fs::temp_directory_path() / ("braid-" + name + "-" + std::to_string(getpid()))) {
    fs::create_directories(path_);
    config = Json::parse(read(from / "config.json"));
    tensors = tensors_of(read(from / "model.safetensors"));
    write("config.json", config.dump());
    write("model.safetensors", file_of(tensors));
  }
  ~Folder() { fs::remove_all(path_); }

  void write(const std::string& name, const std::string& bytes) const { std::ofstream(path_ / name, std::ios::binary) << bytes; }
  void write_config() const { write("config.json", config.dump()); }
  void write_tensors() const { write("model.safetensors", file_of(tensors)); }
  const fs::path& path() const { return path_; }

  Json config;
  Tensors tensors;

 private:
  fs::path path_;
};

}  // namespace braid
