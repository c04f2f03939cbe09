// SPDX-License-Identifier: Apache-2.0
#include "serve/mailbox.h"

#include "serve/generation.h"

namespace braid::serve {

void Mailbox::on_tokens(std::vector<engine::TokenMessage>&& messages) {
  http_.post([self = shared_from_this(), batch = std::move(messages)]() mutable { self->deliver(std::move(batch)); });
}

void Mailbox::add(engine::RequestId request, std::shared_ptr<Generation> generation) {
  receivers_.emplace(request, std::move(generation));
}

void Mailbox::deliver(std::vector<engine::TokenMessage>&& messages) {
  for (auto& message : messages) {
    const auto found = receivers_.find(message.request);
    if (found == receivers_.end()) continue;
    const auto generation = found->second;
    generation->receive(std::move(message));
  }
}

}  // namespace braid::serve
