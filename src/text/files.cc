// SPDX-License-Identifier: Apache-2.0
#include "text/files.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace braid::text {

bool is_directory(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored);
}

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || is_directory(path) || !(content << file.rdbuf())) {
    return Error{ErrorCode::kNotFound, "can't read " + path + ": " + std::strerror(errno ? errno : EISDIR), {}};
  }
  return std::move(content).str();
}

}  // namespace braid::text
