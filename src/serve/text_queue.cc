// SPDX-License-Identifier: Apache-2.0
#include "serve/text_queue.h"

#include <chrono>
#include <exception>

#include "base/log.h"
#include "base/thread_name.h"

namespace braid::serve {
namespace {
constexpr Duration kIdleWait = std::chrono::seconds(60);
}

TextQueue::TextQueue(std::size_t capacity) : queue_(capacity), thread_([this] { work_off(); }) {}

TextQueue::~TextQueue() {
  queue_.close();
  thread_.join();
}

bool TextQueue::run(std::function<void()> work) {
  if (std::this_thread::get_id() != thread_.get_id()) return queue_.try_push(std::move(work));
  work();
  return true;
}

void TextQueue::work_off() {
  name_this_thread("braid-text");
  while (!queue_.closed()) {
    const auto work = queue_.wait_one(kIdleWait);
    if (!work) continue;
    try {
      (*work)();
    } catch (const std::exception& e) {
      log_error("request handling failed", {{"why", e.what()}});
    }
  }
}

}  // namespace braid::serve
