// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: builds the messages of a chat from the finer pieces of which other APIs make
// conversations. What one assistant turn consists of ends up in one message.
#pragma once

#include <string>

#include "protocol/shape.h"

namespace braid::protocol {

class Conversation {
 public:
  explicit Conversation(Json messages = Json::array()) : messages_(std::move(messages)) {}

  void add(const std::string& role, Json content);
  void add_reasoning(const std::string& text);
  // `arguments`: JSON text.
  void add_call(const std::string& id, const std::string& name, const std::string& arguments);
  void add_result(const std::string& call_id, Json content);

  const Json& messages() const { return messages_; }

 private:
  // The message of the assistant's turn that is being built.
  Json& turn();

  Json messages_;
};

}  // namespace braid::protocol
