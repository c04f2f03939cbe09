// SPDX-License-Identifier: Apache-2.0
#include "parse/scanner.h"

#include <algorithm>

#include "parse/json_text.h"

namespace braid::parse {
namespace {

// A cut output that ends in this many bytes of a marker ends within it, not in text.
constexpr std::size_t kPartOfMarker = 2;

}  // namespace

void Scanner::push(std::string_view text) {
  text_.erase(0, at_);
  searched_ -= std::min(searched_, at_);
  at_ = 0;
  text_ += text;
}

Scanner::Place Scanner::find(const std::vector<std::string_view>& markers) const {
  const std::string_view text(text_);
  for (std::size_t at = std::max(at_, searched_); at < text.size(); ++at) {
    int found = -1;
    bool part = false;
    for (std::size_t i = 0; i < markers.size(); ++i) {
      const std::string_view here = text.substr(at, markers[i].size());
      if (here.empty() || !markers[i].starts_with(here)) continue;
      if (here.size() < markers[i].size()) part = true;
      else if (found < 0 || markers[i].size() > markers[static_cast<std::size_t>(found)].size()) found = static_cast<int>(i);
    }
    if (found >= 0) return {at, found};
    if (part) return {at, -1};
  }
  return {text.size(), -1};
}

Scanner::Found Scanner::take(const std::vector<std::string_view>& markers, Place place) {
  Found found{text_.substr(at_, place.at - at_), place.marker};
  at_ = place.at;
  searched_ = 0;
  if (place.marker >= 0) at_ += markers[static_cast<std::size_t>(place.marker)].size();
  return found;
}

Scanner::Found Scanner::until(const std::vector<std::string_view>& markers) {
  const Place place = find(markers);
  Found found = take(markers, place);
  if (found.marker >= 0 || !ended()) return found;
  if (!cut() || rest().size() < kPartOfMarker) found.before += rest();
  at_ = text_.size();
  return found;
}

Scanner::Found Scanner::whole_until(const std::vector<std::string_view>& markers) {
  const Place place = find(markers);
  if (place.marker >= 0) return take(markers, place);
  searched_ = place.at;
  if (!ended()) return {};
  return until(markers);
}

Scanner::Begins Scanner::begins_with(std::string_view marker) {
  const std::string_view here = rest().substr(0, marker.size());
  if (here == marker) {
    at_ += marker.size();
    return Begins::kYes;
  }
  return marker.starts_with(here) && !ended() ? Begins::kUnknown : Begins::kNo;
}

void Scanner::skip_space() {
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

}  // namespace braid::parse
