// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "parse/delta.h"
#include "parse/request.h"

namespace braid::parse {

// Where formats put what they read. It drops what the request does not want, and white space that
// only separates calls from text.
class Sink {
 public:
  explicit Sink(const Request& request) : request_(request) {}

  void content(std::string_view text);
  void reasoning(std::string_view text);
  // Arguments that follow belong to this call. `id`: as the model wrote it; empty: one is made up.
  void begin_call(std::string_view name, std::string id = {});
  void arguments(std::string_view text);
  void call(std::string_view name, std::string_view arguments);

  bool has_call() const { return begun_ > 0; }
  const Request& request() const { return request_; }

  // Ends the output.
  void finish();
  // What has come since the last time.
  Delta take();

 private:
  bool shows_call() const;

  const Request& request_;
  Delta delta_;
  std::string space_;  // of the content, while it is open whether text follows
  int begun_ = 0;
};

}  // namespace braid::parse
