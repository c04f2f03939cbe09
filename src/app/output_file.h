// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "base/result.h"

namespace braid::app {

// A file for results, opened before the work whose results it takes: a wrong path is told first.
class OutputFile {
 public:
  // An empty path makes one that drops what is written.
  static Result<OutputFile> create(const std::string& path) {
    OutputFile output(path);
    if (!path.empty()) {
      output.file_.open(path);
      if (!output.file_) return invalid_argument("can't write " + path + ": " + std::strerror(errno));
    }
    return output;
  }

  Status write(const std::string& text) {
    if (path_.empty() || (file_ << text << std::flush)) return {};
    return internal_error("can't write " + path_ + ": " + std::strerror(errno));
  }

 private:
  explicit OutputFile(std::string path) : path_(std::move(path)) {}

  std::string path_;
  std::ofstream file_;
};

}  // namespace braid::app
