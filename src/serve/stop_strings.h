// SPDX-License-Identifier: Apache-2.0
// Finds stop strings in text that comes piece by piece, also where they straddle pieces: text that
// may be the beginning of one is held back. Thread rules: one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace braid::serve {

class StopStrings {
 public:
  StopStrings(std::vector<std::string> stops, bool include) : stops_(std::move(stops)), include_(include) {}

  // The text that is certain now. After a match nothing more comes.
  std::string append(const std::string& text);
  // What was held back, at the end of the sequence.
  std::string finish();
  // The stop string that was found, if one was.
  const std::optional<std::string>& found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  bool include_;
  std::string held_;
  std::optional<std::string> found_;
};

}  // namespace braid::serve
