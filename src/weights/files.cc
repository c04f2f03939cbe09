// SPDX-License-Identifier: Apache-2.0
#include "weights/files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

namespace braid::weights {
namespace {

namespace fs = std::filesystem;

Result<std::string> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) {
    return Error{ErrorCode::kNotFound, "can't read " + path.string() + ": " + std::strerror(errno), {}};
  }
  return std::move(content).str();
}

Result<std::vector<std::string>> indexed_files(const fs::path& folder, const fs::path& index) {
  ASSIGN_OR_RETURN(const std::string text, read(index));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return invalid_argument(index.string() + ": expected a JSON object with weight_map");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    const bool plain = file.is_string() && fs::path(file.get<std::string>()).filename() == file.get<std::string>();
    if (!plain) return invalid_argument(index.string() + ": tensor " + tensor + " names no file of this folder");
    names.insert(file.get<std::string>());
  }
  std::vector<std::string> paths;
  for (const auto& name : names) paths.push_back((folder / name).string());
  return paths;
}

// "deepseek-ai/DeepSeek-V2-Lite"
bool is_hub_name(const std::string& text) {
  return std::count(text.begin(), text.end(), '/') == 1 && text.front() != '/' && text.front() != '.' && text.back() != '/';
}

}  // namespace

Result<std::string> read_config(const std::string& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    const char* hint = is_hub_name(folder) ? " (Braid downloads nothing; hf download NAME --local-dir FOLDER does)" : "";
    return Error{ErrorCode::kNotFound, folder + " is not a folder; name a Hugging Face model folder on disk" + hint, "model"};
  }
  const fs::path config = fs::path(folder) / "config.json";
  if (!fs::exists(config, ignored)) {
    return Error{ErrorCode::kNotFound, "can't read " + config.string() + ": there is none; name a Hugging Face model folder", "model"};
  }
  return read(config);
}

Result<std::vector<std::string>> weight_files(const std::string& folder) {
  std::error_code ignored;
  const fs::path index = fs::path(folder) / "model.safetensors.index.json";
  if (fs::exists(index, ignored)) return indexed_files(folder, index);
  const fs::path single = fs::path(folder) / "model.safetensors";
  if (fs::exists(single, ignored)) return std::vector<std::string>{single.string()};
  std::vector<std::string> paths;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".safetensors" && entry.path().filename() != "expected.safetensors") {
      paths.push_back(entry.path().string());
    }
  }
  std::sort(paths.begin(), paths.end());
  if (paths.empty()) {
    return Error{ErrorCode::kNotFound, folder + " has no *.safetensors file (use --load-format dummy for random weights)", "model"};
  }
  return paths;
}

}  // namespace braid::weights
