// SPDX-License-Identifier: Apache-2.0
// One thread for what a request needs before the engine sees it and that may take long: parsing,
// rendering, tokenising, compiling grammars. The I/O thread stays free to move bytes.
// Thread safety: run() from any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

#include "base/bounded_queue.h"

namespace braid::serve {

class TextQueue {
 public:
  // At most `capacity` pieces of work wait.
  explicit TextQueue(std::size_t capacity);
  ~TextQueue();  // what still waits is dropped

  // Runs `work` after what was queued before; at once when called on the queue's own thread. False,
  // and nothing is done, when the queue is full.
  bool run(std::function<void()> work);

 private:
  void work_off();

  BoundedQueue<std::function<void()>> queue_;
  std::thread thread_;
};

}  // namespace braid::serve
