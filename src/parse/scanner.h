// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace braid::parse {

// Text that comes in pieces, read marker by marker. A piece may end within a marker: what can still
// become one is kept back until more has come, so results do not depend on where pieces end.
class Scanner {
 public:
  enum class End { kOpen, kComplete, kCut };  // kCut: the output was ended by its length

  void push(std::string_view text);
  void end(bool cut) { end_ = cut ? End::kCut : End::kComplete; }
  bool ended() const { return end_ != End::kOpen; }
  bool cut() const { return end_ == End::kCut; }
  bool empty() const { return at_ == text_.size(); }

  // The text in front of the first of `markers`, which is consumed with it. While none is there:
  // the text that cannot belong to one, and marker < 0.
  struct Found {
    std::string before;
    int marker = -1;
  };
  Found until(const std::vector<std::string_view>& markers);

  // Like until(), but takes nothing before a marker has come or the output has ended.
  Found whole_until(const std::vector<std::string_view>& markers);

  // Whether the text begins with `marker` (and then consumes it).
  enum class Begins { kYes, kNo, kUnknown };
  Begins begins_with(std::string_view marker);

  void skip_space();
  std::string_view rest() const { return std::string_view(text_).substr(at_); }
  void consume(std::size_t size) { at_ += size; }
  // Puts a marker that was consumed last back.
  void unread(std::string_view marker) { at_ -= marker.size(); }
  // `text` is what is read next.
  void put_back(std::string_view text) { text_.insert(at_, text); }

 private:
  struct Place {
    std::size_t at;      // of the marker, or of what may become one
    int marker;
  };
  Place find(const std::vector<std::string_view>& markers) const;
  Found take(const std::vector<std::string_view>& markers, Place place);

  std::string text_;
  std::size_t at_ = 0;
  std::size_t searched_ = 0;  // where whole_until() goes on
  End end_ = End::kOpen;
};

}  // namespace braid::parse
