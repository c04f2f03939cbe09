// SPDX-License-Identifier: Apache-2.0
// An engine among those that exchange keys and values: its cache's memory, what it lends, what it borrows.
// Thread rules: opened, started and stopped by one thread; lender and borrower say their own.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "kv/cache.h"
#include "transfer/borrower.h"
#include "transfer/lender.h"
#include "transfer/settings.h"

namespace braid::transfer {

class Node {
 public:
  // `model` tells what keys and values depend on beside tokens; peers must say the same. Errors: an address
  // that is taken, one that other hosts reach without a secret.
  static Result<std::unique_ptr<Node>> open(const Settings& settings, std::unique_ptr<fabric::Transport> transport, int rank, std::string model);

  // The memory of the engine's cache; once, before start().
  Status share(const kv::Layout& layout, std::int32_t blocks, int block_size);
  // Of kv::Cache's arrays.
  std::byte* layer(int index) const { return memory_->layer(index); }

  // `changed` is called, on any thread, when lender or borrower have something to tell.
  void start(const std::function<void()>& changed);
  // Ends what is lent and borrowed; no memory is read or written any more.
  void stop();

  const Settings& settings() const { return settings_; }
  Lender* lender() const { return lender_.get(); }        // null: a kv_consumer, or not started
  Borrower* borrower() const { return borrower_.get(); }  // null: a kv_producer, or not started
  int port() const { return port_; }                      // where readers ask; 0: a kv_consumer

 private:
  Node(const Settings& settings, std::unique_ptr<fabric::Transport> transport, std::string model)
      : settings_(settings), transport_(std::move(transport)), model_(std::move(model)) {}

  const Settings settings_;
  const std::unique_ptr<fabric::Transport> transport_;
  const std::string model_;
  std::string engine_id_;
  int port_ = 0;
  std::unique_ptr<fabric::Listener> listener_;  // until start()
  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Lender> lender_;
  std::unique_ptr<Borrower> borrower_;
};

}  // namespace braid::transfer
