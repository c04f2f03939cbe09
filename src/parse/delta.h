// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace braid::parse {

// What is new about a tool call. Its first delta carries id and name, later ones only arguments.
struct CallDelta {
  int index = 0;
  std::string id;
  std::string name;
  std::string arguments;
};

// What a piece of a model's output adds to the answer.
struct Delta {
  std::string content;
  std::string reasoning;
  std::vector<CallDelta> calls;

  bool empty() const { return content.empty() && reasoning.empty() && calls.empty(); }
};

// Adds what came after `delta`.
void append(Delta& delta, Delta&& later);

}  // namespace braid::parse
